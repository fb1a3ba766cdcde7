"""Contrast of the text in a notebook's outputs to what lies behind it, in the theme that JupyterLab shows.

WCAG 2.2, 1.4.3: at least 4.5 to 1, large text 3 to 1. axe finds nothing to look at in JupyterLab's output areas, hence
a check of our own. It does not look into pictures; a picture of ours brings its own ground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

THEMES = ("JupyterLab Dark", "JupyterLab Light")

_TOO_LOW = """selector => {
    const LEFT_OUT = 'style, script, :disabled, .highlight, pre code, [aria-hidden=true]';
    const parse = colour => { const found = colour.match(/[\\d.]+/g).map(Number);
        return found.length > 3 ? found : [...found, 1] };
    const over = (top, ground) => [0, 1, 2].map(at => top[3] * top[at] + (1 - top[3]) * ground[at]).concat(1);
    const light = colour => colour.slice(0, 3).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, at) => sum + [0.2126, 0.7152, 0.0722][at] * each, 0);
    const ground = element => { const layers = [];
        for (let each = element; each; each = each.parentElement) {
            const colour = parse(getComputedStyle(each).backgroundColor);
            if (colour[3] > 0) layers.push(colour);
            if (colour[3] === 1) break }
        return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]) };
    const seen = {texts: 0, low: {}};
    for (const area of document.querySelectorAll(selector)) {
        const walker = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
            if (!text || element.closest(LEFT_OUT) || !element.getClientRects().length) continue;
            const style = getComputedStyle(element), behind = ground(element);
            const [dark, bright] = [light(over(parse(style.color), behind)), light(behind)].sort((a, b) => a - b);
            const ratio = (bright + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
            seen.texts += 1;
            if (ratio < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5))
                seen.low[text.slice(0, 60)] = `${ratio.toFixed(1)}: ${style.color} on ${behind.map(Math.round)}` } }
    return seen }"""


def show_theme(page: Page, theme: str) -> None:
    """Have JupyterLab show a theme, and wait until it does and its splash screen is gone."""
    page.evaluate("theme => { jupyterapp.commands.execute('apputils:change-theme', {theme}) }", theme)
    page.wait_for_function(
        "theme => document.body.dataset.jpThemeName === theme && !document.querySelector('#jupyterlab-splash')",
        arg=theme,
        timeout=60_000,
    )


def too_low(page: Page, selector: str = ".jp-OutputArea-output") -> dict[str, str]:
    """Each text whose contrast is too low, with its ratio and colours.

    Left out are disabled buttons and signs that say nothing of their own, as WCAG does, and code, whose colours are
    JupyterLab's own.
    """
    seen = page.evaluate(_TOO_LOW, selector)
    assert seen["texts"], f"there is no text in {selector} to look at"
    found: dict[str, str] = seen["low"]
    return found
