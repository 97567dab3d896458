"""INT8: what is quantized how (scheme), from which pixels (calibration), with which ranges, into which graph."""
