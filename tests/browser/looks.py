"""Checks of accessibility, in a rendered page."""

from typing import Any

from playwright.sync_api import Page

CONTRAST_MIN = 4.5
"""The minimum of WCAG 2, level AA, for text of any size."""

_CONTRASTS = """() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(element).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const [light, dark] = [channels(getComputedStyle(element).color).slice(0, 3), behind(element)]
      .map(luminance).sort((a, b) => b - a);
    found.push([texts.currentNode.textContent.trim(), (light + 0.05) / (dark + 0.05)]);
  }
  return found;
}"""

_NAMELESS = """() => [...document.querySelectorAll("a, button, summary, svg, nav, section, table, [role=region]")]
  .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim() ||
    document.getElementById(one.getAttribute("aria-labelledby"))?.textContent.trim()))
  .map(one => one.outerHTML.slice(0, 100))"""

_OUTLINED = """() => {
  const style = getComputedStyle(document.activeElement);
  if (document.activeElement === document.body) return false;
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""


def faint_texts(page: Page) -> dict[str, float]:
    """Return text → contrast of texts with too little contrast."""
    found: list[tuple[str, float]] = page.evaluate(_CONTRASTS)
    assert found, "the page has no text"
    return {text: ratio for text, ratio in found if ratio < CONTRAST_MIN}


def elements_without_name(page: Page) -> list[str]:
    """Return elements that have no name for a screen reader."""
    found: list[str] = page.evaluate(_NAMELESS)
    return found


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    pixels: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return pixels


def tab_stops(page: Page, count: int) -> list[bool]:
    """Press Tab `count` times. Return for each stop whether the focus is visible."""
    seen: list[Any] = []
    page.bring_to_front()
    for _ in range(count):
        before = page.evaluate_handle("document.activeElement")
        page.keyboard.press("Tab")
        page.wait_for_function("before => document.activeElement !== before", arg=before)
        seen.append(page.evaluate(_OUTLINED))
    return seen
