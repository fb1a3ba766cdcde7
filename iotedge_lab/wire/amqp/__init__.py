"""AMQP 1.0 sans-IO: start at `connection.AmqpConnection`; events in `events`, messages in `message`."""
