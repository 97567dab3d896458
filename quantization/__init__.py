"""INT8, in the order of the work.

calibration: which pixels. prepared: the float graph in a form that loses less. sensitivity: what an error of each value
costs in the image. equalization: one step for all channels. mixed: what stays in float. range_split: two grids where
one is too coarse. quantizer, ranges: where and how to round. reconstruction: numbers that make up for it;
unfinished: its state. gptq: weights that make up for each other's rounding. flats: no pattern in flat images. biases:
as integer kernels add them. graph: the flow through all of these. recipe, recipe_graph: the result, written down and
applied; kept: where it is found again; float_outputs: with fewer roundings, for runtimes that need no more.
layers_report: what it did to each convolution. scheme, settings: what is asked for.
"""
