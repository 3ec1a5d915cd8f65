"""How the tabs look: their CSS, on a wide screen and on a phone, and Markdown that shows a text as it is."""

import re

CSS = """
footer { justify-content: center }
.plain .html-container { padding: 0 !important }
.invitation { opacity: 0.75 }
.invitation p { font-size: 13px !important }
.secondary-wrap input { padding-right: 28px !important; text-overflow: ellipsis }
.headline { font-size: 17px }
.message .error, .message .clear-status { display: none }
.card table { display: block; overflow-x: auto; font-size: 13px }
.card :is(th, td) { white-space: nowrap; word-break: normal }
.card :is(th, td):first-child { position: sticky; left: 0; background: var(--background-fill-primary) }
.card h1 { font-size: 20px; overflow-wrap: anywhere }
.card ol { padding-inline-start: 2.2em }
.state { padding: 2px 10px; border-radius: 12px; color: #fff; font-weight: 600 }
.state:is(.failed, .died, .unreadable) { background: #b91c1c }
.state.stopped { background: #a16207 }
.state.running { background: #1d4ed8 }
.state.finished { background: #15803d }
.bad, .bad strong { color: #b91c1c; overflow-wrap: anywhere }
.dark :is(.bad, .bad strong) { color: #fca5a5 }
.scores table { width: 100%; border-collapse: collapse; font-size: 14px }
.scores :is(th, td) { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--border-color-primary) }
.scores :is(th, td):first-child { text-align: left; overflow-wrap: anywhere }
.exact .grid-container { display: flex; flex-wrap: wrap; align-items: flex-start; padding-top: 32px }
.exact .gallery-item { width: auto; max-width: 100%; flex: 0 0 auto }
.exact .thumbnail-item { width: auto; height: auto; max-width: 100%; aspect-ratio: auto; overflow: auto }
.exact .thumbnail-item { display: block }
.exact .thumbnail-item img { width: auto; height: auto; max-width: none; object-fit: none; image-rendering: pixelated }
.exact .caption-label { position: sticky; left: 0; width: fit-content; max-width: 100% }
@media (min-resolution: 1.5dppx) { .exact .thumbnail-item img { zoom: 0.5 } }
@media (min-resolution: 2.5dppx) { .exact .thumbnail-item img { zoom: 0.33333 } }
@media (max-width: 600px) {
  .scores tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid var(--border-color-primary) }
  .scores :is(th, td) { flex: 1; border: 0; padding: 4px }
  .scores :is(th, td):first-child { flex: 1 0 100%; font-weight: 600 }
  .figures { height: 400px !important }
}
"""


def escape_markdown(text: str) -> str:
    """Return one line of Markdown that shows `text` as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~$&])", r"\\\1", " ".join(text.split()))
