"""Looking for one event among those that a consumer receives."""


def find(consumer, matches, seconds=30.0):
    """The first event of the consumer for which `matches(event)` holds, once it has come."""
    with consumer.news:
        hit = lambda: next((event for event in consumer.events if matches(event)), None)  # noqa: E731 - asked twice
        assert consumer.news.wait_for(lambda: hit() is not None or consumer.errors, seconds), (
            f"it is not among the {len(consumer.events)} events that came"
        )
        assert hit() is not None, consumer.errors
        return hit()


def annotations(event):
    """The message annotations with names and texts as str."""
    text = lambda value: value.decode() if isinstance(value, bytes) else value  # noqa: E731 - for both sides
    return {text(name): text(value) for name, value in event.raw_amqp_message.annotations.items()}


def properties(event):
    """The application properties with names and texts as str."""
    text = lambda value: value.decode() if isinstance(value, bytes) else value  # noqa: E731 - for both sides
    return {text(name): text(value) for name, value in (event.properties or {}).items()}


def body(event):
    """The event's body as bytes."""
    return b"".join(event.body)
