"""What runs on a board: upscale, bench and a small photo service around the artifacts of one bundle.

Travels with `edgesr bundle --platform rpi|jetson`; needs the runner, Pillow, pydantic, waitress and the runtimes of the
artifacts, nothing that converts or trains.
"""
