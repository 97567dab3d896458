package org.edgesr.core;

/** What computes a tile. An interface because a runtime is on phones only, and tests need another. */
public interface TileModel {
    /** Float32 (1, 3, height, width), RGB in 0 to 1, to (1, 3, scale * height, scale * width). */
    float[] predict(float[] tile, Size size) throws AppException;
}
