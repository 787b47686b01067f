"""Computes the sample pictures: ``python tools/paint.py [FOLDER]``; default: nst_cli/samples.

The landscape is a height field of eroded noise [1]_ in perspective, lit by a low sun and mirrored
in a lake. The styles consist of thousands of brush strokes. Each is an arc with bristles and a
thickness, which is lit from the side.

References
----------
.. [1] I. Quilez, "Value noise derivatives" (2008), iquilezles.org/articles/morenoise.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from nst_cli import files, samples

LONG_EDGE = 600

# Pictures are drawn larger by this factor and then reduced, which smooths the edges.
_OVERSAMPLING = 2
_JPEG: dict[str, Any] = {"quality": 80, "subsampling": 0, "optimize": True}

_SUN = np.array([-0.80, 0.42, 0.12]) / np.linalg.norm([-0.80, 0.42, 0.12])
_SUNLIGHT = np.array([2.60, 1.75, 1.05])
_SKYLIGHT = np.array([0.30, 0.42, 0.66])
_ZENITH = np.array([0.13, 0.30, 0.58])
_HORIZON = np.array([1.15, 0.72, 0.42])
_EYE = 0.16  # Height of the camera above the lake. The landscape's unit is 1 km.
_SKYLINE = 0.62  # Position of the horizon, as a share of the height from the top.


# -- Noise ----------------------------------------------------------------------------------------


def _noise(x, y, table):
    """Return value noise from 0 to 1 at the points (x, y), and its slopes along x and y."""
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    i, j = column.astype(np.intp) & 255, row.astype(np.intp) & 255
    k, m = (i + 1) & 255, (j + 1) & 255
    a, b, c, d = table[j, i], table[j, k], table[m, i], table[m, k]
    u, v = fx**3 * (fx * (6 * fx - 15) + 10), fy**3 * (fy * (6 * fy - 15) + 10)
    twist = a - b - c + d
    slope_x = 30 * (fx * (fx - 1)) ** 2 * (b - a + twist * v)
    slope_y = 30 * (fy * (fy - 1)) ** 2 * (c - a + twist * u)
    return a + (b - a) * u + (c - a) * v + twist * u * v, slope_x, slope_y


def _fractal(x, y, table, octaves, erosion=0.0):
    """Sum octaves of noise, about 0 to 1; with erosion, steep places get less detail."""
    total, down, across, weight = 0.0, 0.0, 0.0, 0.5
    for _ in range(octaves):
        value, slope_x, slope_y = _noise(x, y, table)
        across, down = across + slope_x, down + slope_y
        total = total + weight * value / (1 + erosion * (across**2 + down**2))
        weight /= 2
        # Scaled by 2 and rotated, so that the grids of the octaves do not align.
        x, y = 1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y + 5.7
    return total


def _smoothstep(low, high, x):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(one, other, share):
    return one + (other - one) * np.asarray(share)[..., None]


# -- Landscape ------------------------------------------------------------------------------------


def landscape(long_edge: int = LONG_EDGE, seed: int = 5) -> np.ndarray:
    """Draw a mountain lake in evening light.

    Parameters
    ----------
    long_edge : int
        Width in pixels; the height is two thirds of it.
    seed : int

    Returns
    -------
    numpy.ndarray
        uint8, (H, W, 3), RGB.
    """
    rng = np.random.default_rng(seed)
    table = rng.random((256, 256))
    width = long_edge * _OVERSAMPLING
    rows, columns = np.mgrid[0 : width * 2 // 3, 0:width]
    across = (columns + 0.5) / width - 0.5
    up = (_SKYLINE * 2 / 3) - (rows + 0.5) / width
    light = _view(across, up, _EYE, table)
    water = np.isnan(light[..., 0])
    light[water] = _lake(across, up, table)[water]
    pixels = 255 * _film(light)
    return _finish(_bank(pixels, rng))


def _ground(x, z, table, octaves=9):
    """Return the height of the ground above the lake."""
    peaks = _fractal(x / 3.4 + 31, z / 3.4 + 7, table, octaves, erosion=0.9)
    valley = _smoothstep(0.4, 4.5, np.hypot(0.4, x - 0.35 * np.sin(z / 2)) - 0.1 * z + 0.4)
    rise = 0.25 + 1.0 * valley + 2.2 * _smoothstep(6, 14, z)
    shore = _smoothstep(3.2, 8.0, z + 1.1 * np.hypot(0.8, x))
    return shore * rise * 2.2 * peaks - 0.16 - 0.5 * (1 - shore)


def _view(across, up, eye, table):
    """Return the light from each direction, NaN where the lake is visible."""
    z = np.geomspace(1.5, 45, across.shape[1] * 3 // 4)
    height = _ground(across[0] * z[:, None], z[:, None], table)
    lake = -eye / z[:, None] if eye > 0 else -1e9
    seen = np.maximum.accumulate(np.where(height > 0, (height - eye) / z[:, None], lake))
    # A pixel shows the nearest ground that reaches its height in the view.
    place = np.stack([np.searchsorted(s, u) for s, u in zip(seen.T, up.T)], axis=1)
    light = _sky(across, up, table)
    hit = place < len(z)
    index, columns = place[hit], np.nonzero(hit)[1]
    before = np.maximum(index - 1, 0)
    low, high = seen[before, columns], seen[index, columns]
    share = np.clip((up[hit] - low) / np.maximum(high - low, 1e-9), 0, 1)
    depth = z[before] + share * (z[index] - z[before])
    wet = height[index, columns] <= 0
    land = _land(across[hit], depth, light[hit], table)
    light[hit] = np.where(wet[:, None], np.nan, land)
    return light


def _land(across, z, sky, table):
    """Return the light from the ground at depth `z`, seen through haze."""
    x, step = across * z, 0.0015 * z
    height = _ground(x, z, table)
    slope_x = (_ground(x + step, z, table) - height) / step
    slope_z = (_ground(x, z + step, table) - height) / step
    length = np.sqrt(1 + slope_x**2 + slope_z**2)
    sunny = np.clip((_SUN[1] - _SUN[0] * slope_x - _SUN[2] * slope_z) / length, 0, 1)
    for distance in np.geomspace(0.05, 4, 12):
        dx, rise, dz = _SUN * distance
        above = height + rise - _ground(x + dx, z + dz, table, octaves=5)
        sunny *= _smoothstep(-0.12, 0.04, above / distance**0.5)
    flat = 1 / length
    patches = _fractal(x * 3, z * 3, table, 5)
    rock = _mix(np.array([0.17, 0.15, 0.14]), np.array([0.36, 0.29, 0.23]), patches)
    woods = _mix(np.array([0.025, 0.06, 0.03]), np.array([0.15, 0.17, 0.05]), patches**2)
    green = _smoothstep(1.25, 0.75, height + 0.5 * (patches - 0.5)) * _smoothstep(0.35, 0.6, flat)
    snow = _smoothstep(1.5, 2.1, height + 0.8 * (patches - 0.5)) * _smoothstep(0.45, 0.65, flat)
    ground = _mix(_mix(rock, woods, green), np.array([0.82, 0.86, 0.92]), snow)
    light = ground * (sunny[:, None] * _SUNLIGHT + (0.4 + 0.6 * flat)[:, None] * _SKYLIGHT)
    haze = 1 - np.exp(-np.maximum(z - 2, 0) / 26 * np.exp(-height / 2.5))
    return _mix(light, 0.55 * sky + 0.45 * np.array([0.52, 0.56, 0.66]), haze)


def _sky(across, up, table):
    """Return the light of the sky; the clouds are a layer of noise in perspective."""
    up = np.maximum(up, 0)
    glow = np.exp(-3.0 * np.hypot(across + 0.55, 1.2 * (up - 0.05)))
    clear = _mix(_HORIZON, _ZENITH, _smoothstep(-0.05, 0.42, up)) * (0.75 + 0.9 * glow[..., None])
    x, y = across / (up + 0.09), 1.1 / (up + 0.09)
    cover = _fractal(1.1 * x + 3, y, table, 7)
    toward = _fractal(1.1 * x + 2.75, y + 0.05, table, 7)
    density = _smoothstep(0.46, 0.78, cover)
    lit = np.clip(0.5 + 3.2 * (cover - toward) + 0.7 * glow - 0.25 * density, 0, 1)
    cloud = _mix(np.array([0.34, 0.36, 0.46]), np.array([1.5, 1.12, 0.82]), lit)
    return _mix(clear, cloud, 0.92 * density * _smoothstep(0.0, 0.10, up))


def _lake(across, up, table):
    """Return the light of the lake: the view from the mirrored camera, displaced by ripples."""
    mirrored = _view(across, -up, -_EYE, table)
    rows, columns = np.indices(up.shape)
    near = np.maximum(-up, 1e-3)
    ripples = _fractal(5 * across / near, 2.2 / near, table, 4) - 0.47
    shift = ripples * (0.05 + 0.35 * near) * 0.35 * up.shape[1]
    moved = np.clip(rows + shift, 0, up.shape[0] - 1).astype(np.intp)
    mirror = mirrored[moved, columns]
    mirror = np.where(np.isnan(mirror), mirrored, mirror)
    deep = np.array([0.03, 0.10, 0.13]) + 0.06 * ripples[..., None]
    return _mix(deep, mirror, np.clip(0.92 - 1.6 * near, 0.3, 1))


def _film(light):
    """Map light to values from 0 to 1, with soft highlights and a print's contrast."""
    light = 0.85 * np.nan_to_num(light)
    soft = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    return np.clip(1.33 * np.sqrt(soft.clip(0, 1)) - 0.05, 0, 1)


def _bank(pixels, rng):
    """Draw the near bank: earth, grass and firs, dark except where the sun reaches them."""
    image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    draw, (width, height) = ImageDraw.Draw(image), image.size
    x = np.linspace(-0.02, 1.02, 240)
    table = rng.random((256, 256))
    rough = 0.07 * (_fractal(9 * x, 0 * x, table, 5) - 0.5)
    edge = 0.93 - 0.10 * np.abs(2 * x - 1.1) ** 1.6 + rough
    outline = [*zip(x * width, edge * height), (1.02 * width, height), (-0.02 * width, height)]
    draw.polygon(outline, fill=(22, 26, 15))
    for place, size in zip(_FIRS[::2], _FIRS[1::2]):
        foot = height * (np.interp(place, x, edge) + 0.015)
        _fir(draw, place * width, foot, size * height, rng)
    number = 14000
    depth, place = np.sort(rng.random(number) ** 1.3), rng.uniform(-0.02, 1.02, number)
    top = np.interp(place, x, edge)
    root = np.stack([place * width, (top + 0.012 + depth * (1.03 - top)) * height], axis=1)
    blade = width * (0.004 + 0.016 * depth) * rng.uniform(0.5, 1.3, number)
    tip = root + np.stack([blade * rng.normal(0.25, 0.25, number), -blade], axis=1)
    clump = _fractal(14 * place, 30 * depth, table, 3)
    light = rng.normal(2.4 * (clump - 0.42), 0.12).clip(0, 1) * (0.9 - 0.5 * depth)
    colours = _mix(np.array([25, 33, 14]), np.array([196, 160, 66]), light)
    for start, end, colour in zip(root, tip, colours):
        draw.line([*start, *end], fill=_rgb(colour), width=1 + width // 1000)
    return np.asarray(image)


# Alternately: position from the left in widths of the picture, size in heights; back to front.
_FIRS = [0.3, 0.2, 0.925, 0.36, 0.845, 0.24, 0.985, 0.48, 0.215, 0.36, 0.145, 0.5, 0.02, 0.52]
_FIRS += [0.075, 0.74]


def _fir(draw, x, foot, size, rng):
    """Draw a fir: tiers of drooping branches around a trunk, sunlit on the left."""
    draw.line([(x, foot), (x, foot - 0.97 * size)], fill=(26, 19, 14), width=1 + int(size / 60))
    for height in np.clip(np.linspace(0.10, 1, 90) + rng.normal(0, 0.006, 90), 0, 1):
        span = size * (0.20 * (1 - height) ** 0.85 + 0.008) * rng.uniform(0.6, 1.1)
        for _ in range(9):
            reach = rng.uniform(-1, 1)
            near = np.array([x + 0.1 * reach * span, foot - size * height])
            far = near + [reach * span, span * (0.5 * abs(reach) ** 1.5 - 0.05)]
            light = np.clip(rng.normal(0.12 - 0.30 * reach, 0.12), 0, 1) * (0.5 + 0.5 * height)
            colour = _mix(np.array([13, 24, 19]), np.array([226, 178, 84]), light)
            for share in rng.random(5):
                start = near + share * (far - near)
                twig = span * rng.uniform(0.05, 0.2) * np.array([2 * reach, 0.75])
                draw.line([*start, *(start + twig)], fill=_rgb(colour), width=1 + int(size / 400))


def _rgb(colour):
    return tuple(int(channel) for channel in np.clip(colour, 0, 255))


# -- Brush strokes --------------------------------------------------------------------------------


def whirls(long_edge: int = LONG_EDGE, seed: int = 3) -> np.ndarray:
    """Paint whirls and glowing discs in curved strokes, blues against yellows.

    Parameters
    ----------
    long_edge : int
        Width in pixels; the height is three quarters of it.
    seed : int

    Returns
    -------
    numpy.ndarray
        uint8, (H, W, 3), RGB.
    """
    rng = np.random.default_rng(seed)
    table = rng.random((256, 256))

    def flow(x, y):
        bend = 2.2 * (_fractal(1.6 * x, 1.6 * y, table, 2) - 0.37)
        vx, vy = 0.5 * np.cos(bend), 0.5 * np.sin(bend)
        for cx, cy, radius, turn, _ in _WHIRLS:
            dx, dy = x - cx, y - cy
            far = np.hypot(dx, dy).clip(1e-6)
            pull = 2.5 * turn * np.exp(-((far / radius / 3) ** 2)) / far
            vx, vy = vx - pull * (dy + 0.25 * dx), vy + pull * (dx - 0.25 * dy)
        return np.arctan2(vy, vx)

    def colour(x, y, breadth):
        shade = 1.9 * (_fractal(2.6 * x, 3.6 * y + 9, table, 3) - 0.42) + 0.36
        heat = np.zeros(x.shape)
        for cx, cy, radius, turn, glow in _WHIRLS:
            far = np.hypot(x - cx, y - cy) / radius
            arms = np.cos(2 * turn * np.arctan2(y - cy, x - cx) - 3.2 * far)
            shade = shade + 0.32 * arms * np.exp(-((far / 2.6) ** 2))
            rings = 0.20 * np.cos(4.4 * far) * (far > 1)
            heat = np.maximum(heat, glow * (1.15 - 0.40 * far + rings))
        shade, heat = shade + rng.normal(0, 0.09, x.shape), heat + rng.normal(0, 0.06, x.shape)
        return _mix(_ramp(_BLUES, shade), _ramp(_YELLOWS, heat), _smoothstep(0.10, 0.30, heat))

    layers = [(1600, 0.17, 0.036), (2400, 0.12, 0.023), (3000, 0.085, 0.014)]
    return _paint(long_edge, 0.75, layers, flow, colour, rng)


# Centre x and y, radius, direction of rotation, and glow.
_WHIRLS = [
    (0.76, 0.20, 0.078, 1.0, 1.00),
    (0.22, 0.17, 0.046, -1.0, 0.95),
    (0.40, 0.42, 0.105, 1.0, 0.0),
    (0.10, 0.58, 0.050, -1.0, 0.90),
    (0.80, 0.58, 0.090, -1.0, 0.0),
    (0.57, 0.63, 0.034, 1.0, 0.85),
    (0.49, 0.11, 0.024, -1.0, 0.85),
]
_BLUES = "#181e40 #1c2c66 #264c92 #3e7aae #7ca8b6 #c2c4a0"
_YELLOWS = "#466074 #a45c2e #ca8030 #daa63e #e4c462 #e8dcb2"


def patchwork(long_edge: int = LONG_EDGE, seed: int = 4) -> np.ndarray:
    """Paint patches of broad knife strokes in reds, ochres and teals, with dark contours.

    Parameters
    ----------
    long_edge : int
        Width in pixels; the height is three quarters of it.
    seed : int

    Returns
    -------
    numpy.ndarray
        uint8, (H, W, 3), RGB.
    """
    rng = np.random.default_rng(seed)
    table = rng.random((256, 256))
    seeds = rng.random((40, 2)) * [1.1, 0.85] - 0.05
    angles = rng.uniform(-1.3, 1.3, len(seeds))
    stretch = rng.uniform(1.0, 2.6, len(seeds))
    lean = seeds @ [0.9, -1.1] + rng.normal(0, 0.22, len(seeds)) - 0.01
    place = rng.random(len(seeds))
    shades = np.where(lean[:, None] > 0, _ramp(_WARMS, place), _ramp(_COOLS, place))

    def nearest(x, y):
        """Return the patch at each point, and a measure of the distance to its edge."""
        bend_x, bend_y = (0.2 * (_fractal(3 * x + d, 3 * y, table, 3) - 0.43) for d in (0, 50))
        dx, dy = (x + bend_x)[..., None] - seeds[:, 0], (y + bend_y)[..., None] - seeds[:, 1]
        along = dx * np.cos(angles) + dy * np.sin(angles)
        side = dy * np.cos(angles) - dx * np.sin(angles)
        far = np.sqrt(along**2 / stretch + side**2 * stretch)
        two = np.sort(far, axis=-1)[..., :2]
        return far.argmin(axis=-1), two[..., 1] - two[..., 0]

    def contour(x, y):
        """Return the distance to the nearest contour, and the contour's direction."""
        edge, step = nearest(x, y)[1], 1e-5
        right = (nearest(x + step, y)[1] - edge) / step
        down = (nearest(x, y + step)[1] - edge) / step
        return edge / np.hypot(right, down).clip(0.3), np.arctan2(-right, down)

    def flow(x, y):
        far, along = contour(x, y)
        waver = angles[nearest(x, y)[0]] + 1.6 * (_fractal(2 * x, 2 * y + 30, table, 2) - 0.37)
        return np.where(far < 0.012, along, waver)

    def colour(x, y, breadth):
        patch, _ = nearest(x, y)
        patch = np.where(rng.random(x.shape) < 0.06, rng.integers(0, len(seeds), x.shape), patch)
        light = 0.73 + 0.5 * _fractal(5 * x, 5 * y + 70, table, 2) + rng.normal(0, 0.1, x.shape)
        paint = shades[patch] * light[..., None] + rng.normal(0, 8, (*x.shape, 3))
        if breadth < 0.015:
            # The last layer paints only the contours.
            paint = np.where((contour(x, y)[0] < 0.005)[..., None], [24, 18, 32], np.nan)
        return paint

    layers = [(1600, 0.15, 0.055), (2000, 0.11, 0.036), (1500, 0.08, 0.022), (14000, 0.05, 0.010)]
    return _paint(long_edge, 0.75, layers, flow, colour, rng)


_WARMS = "#78161a #c42c1e #e05c24 #e29634 #eecc84"
_COOLS = "#103e4a #147076 #54a092 #a0c2a4 #2c3a60"


def _ramp(colours, place):
    """Interpolate a row of colours at positions from 0 to 1."""
    row = np.array([ImageColor.getrgb(name) for name in colours.split()])
    stops = np.linspace(0, 1, len(row))
    return np.stack([np.interp(place, stops, channel) for channel in row.T], axis=-1)


def _paint(long_edge, aspect, layers, flow, colour, rng):
    """Cover a canvas with layers of strokes.

    Each layer is (number, length, breadth), lengths in widths of the canvas.
    """
    width = long_edge * _OVERSAMPLING
    relief = np.zeros((round(width * aspect), width))
    # A coarse underpainting shows where no stroke covers the canvas.
    rows, columns = np.mgrid[0 : relief.shape[0] : 8, 0:width:8] / width
    canvas = colour(columns, rows, 1.0).repeat(8, axis=0).repeat(8, axis=1)
    canvas = canvas[: relief.shape[0], :width]
    bristles = _bristles(rng)
    for number, length, breadth in layers:
        x, y = rng.uniform(-0.03, 1.03, number), rng.uniform(-0.03, aspect + 0.03, number)
        angle, step = flow(x, y), 0.15 * length
        ahead = flow(x + step * np.cos(angle), y + step * np.sin(angle))
        # A stroke has no direction, so a half turn counts as none. A sharp turn is a corner, where
        # the stroke stays straight.
        turn = np.arctan(np.tan(ahead - angle))
        bend = np.where(np.abs(turn) < 0.33, turn / step, 0)
        sizes = rng.uniform(0.6, 1.25, number)
        arcs = np.stack([x * width, y * width, angle, bend / width], axis=1)
        spans = width * sizes[:, None] * [length, breadth]
        for arc, span, paint in zip(arcs, spans, colour(x, y, breadth)):
            if not np.isnan(paint[0]):
                _stroke(canvas, relief, bristles, rng, *arc, *span, paint)
    return _finish(_lit(canvas, relief))


def _bristles(rng):
    """Return streaks from 0 to 1, shape (512, 512); axes: across the stroke, along it."""
    fine, broad = (
        np.asarray(Image.fromarray(rng.random(shape).astype(np.float32)).resize((512, 512), 3))
        for shape in ((200, 24), (50, 10))
    )
    return np.clip(0.5 + 1.1 * (fine - 0.5) + 0.8 * (broad - 0.5), 0, 1)


def _stroke(canvas, relief, bristles, rng, x, y, angle, bend, length, breadth, paint):
    """Paint one stroke, an arc through (x, y), on the canvas and its relief; units are pixels."""
    height, width = relief.shape
    reach = int(0.55 * length + breadth) + 1
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    right, bottom = min(int(x) + reach, width), min(int(y) + reach, height)
    if right <= left or bottom <= top:
        return
    dx, dy = np.arange(left, right) - x, np.arange(top, bottom)[:, None] - y
    along = dx * np.cos(angle) + dy * np.sin(angle)
    side = dy * np.cos(angle) - dx * np.sin(angle)
    if abs(bend) * length > 0.02:
        radius, turn = 1 / abs(bend), np.sign(bend)
        inward = radius - turn * side
        along, side = radius * np.arctan2(along, inward), turn * (radius - np.hypot(along, inward))
    # Along the stroke from -1 to 1, across it from -1 to 1.
    u, v = 2 * along / length, 2 * side / breadth
    inside = (np.abs(u) < 1.1) & (np.abs(v) < 1)
    u, v = u[inside], v[inside]
    row, column = rng.integers(0, 512, 2)
    fine = 1200 / width
    row = row + (0.45 * fine * breadth * v).astype(int)
    column = column + (0.2 * fine * length * u).astype(int)
    hair = bristles[row & 511, column & 511]
    # The bristles run dry at different positions, which frays the end.
    end = np.clip(1.02 + 0.35 * (hair - 0.6) - np.maximum(u, -0.9 * u), 0, 1)
    cover = np.clip(4 * end, 0, 1) * np.clip((1.02 - 0.35 * u**4 - np.abs(v)) * breadth / 3, 0, 1)
    cover *= np.clip(0.55 + 1.5 * hair - 0.5 * np.abs(u), 0, 1)
    shade = (0.89 + 0.22 * hair)[:, None]
    piled = breadth * (0.25 + 0.5 * hair + 0.25 * v**4) * (1 - 0.3 * u)
    box = np.s_[top:bottom, left:right]
    canvas[box][inside] = _mix(canvas[box][inside], shade * paint, cover)
    relief[box][inside] += cover * (piled - 0.6 * relief[box][inside])


def _lit(canvas, relief):
    """Return the canvas with its relief lit from the upper left."""
    down, right = np.gradient(relief)
    slope = np.tanh(0.6 * (down + right))[..., None]
    return canvas * (1 + 0.17 * slope) + 14 * np.maximum(slope, 0) ** 2


def _finish(pixels):
    """Return the picture at its final size, uint8."""
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return np.asarray(image.reduce(_OVERSAMPLING))


def main(folder: files.StrPath) -> None:
    """Write the three pictures, ``landscape.jpg``, ``whirls.jpg`` and ``patchwork.jpg``.

    Parameters
    ----------
    folder : path-like
        It must exist.
    """
    for draw in (landscape, whirls, patchwork):
        with files.replacing(Path(folder) / f"{draw.__name__}.jpg") as temporary:
            Image.fromarray(draw()).save(temporary, **_JPEG)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else samples.CONTENT.parent)
