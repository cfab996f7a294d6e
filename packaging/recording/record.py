"""Runs a command on a terminal of its own, keeps what it prints (asciicast v2), and draws that as an animated SVG.

    record.py FILE.svg COLUMNS ROWS COMMAND…

Nothing is invented: the terminal emulator `pyte` gets the very bytes and times of the run. `run` beside this file calls it.
"""

import fcntl
import html
import json
import os
import pathlib
import pty
import struct
import sys
import termios
import time

import pyte

# A frame for each change, but not more often than this, in seconds: what is readable, and small enough for a page.
SHORTEST_FRAME = 0.35
# The last frame is shown for so long before the animation begins again.
LAST_FRAME = 6.0
WIDTH, HEIGHT, MARGIN = 8.4, 18, 14
COLOURS = {
    "default": "#d8dee9", "black": "#3b4252", "red": "#ef6b73", "green": "#a3be8c", "brown": "#ebcb8b",
    "blue": "#81a1c1", "magenta": "#b48ead", "cyan": "#88c0d0", "white": "#e5e9f0",
}


def record(columns, rows, command):
    """What the command prints, as (seconds, text)."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    begun, events, rest = time.monotonic(), [], b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        text = (rest + piece).decode("utf-8", "ignore")
        rest = (rest + piece)[len(text.encode()):]
        events.append((round(time.monotonic() - begun, 3), text))
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return events


def frames(columns, rows, events):
    """The screens that differ, as (seconds, lines)."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.Stream(screen)
    shown = []
    for number, (at, text) in enumerate(events):
        stream.feed(text)
        is_last = number + 1 == len(events)
        if not is_last and shown and at - shown[-1][0] < SHORTEST_FRAME:
            continue
        lines = tuple(drawn(screen.buffer[row], columns) for row in range(rows))
        if not shown or shown[-1][1] != lines:
            shown.append((at, lines))
    return shown


def drawn(line, columns):
    """A line of the screen as the inside of an SVG text: runs of one style."""
    cells = [line[column] for column in range(columns)]
    while cells and cells[-1].data == " ":
        cells.pop()
    runs = []
    for cell in cells:
        style = (cell.fg, cell.bold)
        if runs and runs[-1][0] == style:
            runs[-1][1].append(cell.data)
        else:
            runs.append((style, [cell.data]))
    parts = []
    for (colour, bold), characters in runs:
        text = html.escape("".join(characters), quote=False)
        name = colour.removeprefix("bright") if colour != "default" else ""
        classes = " ".join(filter(None, [name and f"c-{name}", bold and "b"]))
        parts.append(f'<tspan class="{classes}">{text}</tspan>' if classes else text)
    return "".join(parts)


def svg(columns, rows, shown):
    """All frames below each other, moved past a window by a CSS animation without in-betweens."""
    width, height = columns * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN
    total = shown[-1][0] + LAST_FRAME
    known, body = {}, []
    for number, (_, lines) in enumerate(shown):
        uses = []
        for row, line in enumerate(lines):
            if line:
                name = known.setdefault(line, f"l{len(known)}")
                uses.append(f'<use href="#{name}" y="{row * HEIGHT}"/>')
        body.append(f'<g transform="translate(0 {number * height:g})">{"".join(uses)}</g>')
    steps = [f"{at / total * 100:.2f}%{{transform:translateY({-number * height:g}px)}}" for number, (at, _) in enumerate(shown)]
    steps[0] = steps[0].replace(steps[0].split("%")[0], "0", 1)
    lines = [f'<text id="{name}" xml:space="preserve" x="{MARGIN}" y="{MARGIN + HEIGHT - 5}">{line}</text>' for line, name in known.items()]
    colours = "".join(f".c-{name}{{fill:{colour}}}" for name, colour in COLOURS.items() if name != "default")
    # Without motion, where the reader asks for none, the last frame is shown.
    still = f"@media (prefers-reduced-motion:reduce){{#film{{animation:none;transform:translateY({-(len(shown) - 1) * height:g}px)}}}}"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img">
<title>rcsync demo: a simulated training job, mirrored</title>
<style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{COLOURS["default"]}}}.b{{font-weight:700}}{colours}
#film{{animation:film {total:.2f}s step-end infinite}}@keyframes film{{{"".join(steps)}}}{still}</style>
<defs>{"".join(lines)}</defs>
<rect width="{width:g}" height="{height:g}" rx="8" fill="#20242c"/>
<svg width="{width:g}" height="{height:g}"><g id="film">{"".join(body)}</g></svg>
</svg>
"""


def main(out, columns, rows, *command):
    columns, rows = int(columns), int(rows)
    events = record(columns, rows, list(command))
    header = {"version": 2, "width": columns, "height": rows, "title": " ".join(command)}
    cast = [json.dumps(header), *(json.dumps([at, "o", text]) for at, text in events)]
    out = pathlib.Path(out)
    out.with_suffix(".cast").write_text("\n".join(cast) + "\n")
    shown = frames(columns, rows, events)
    out.write_text(svg(columns, rows, shown))
    print(f"{out}: {len(shown)} frames, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
