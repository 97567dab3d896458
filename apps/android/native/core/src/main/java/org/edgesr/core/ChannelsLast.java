package org.edgesr.core;

/** A model of (1, height, width, 3) as one of (1, 3, height, width). */
public final class ChannelsLast implements TileModel {
    private final TileModel inner;
    private final int scale;

    /** `inner`: takes and gives the channels of a pixel beside each other. */
    public ChannelsLast(TileModel inner, int scale) {
        this.inner = inner;
        this.scale = scale;
    }

    @Override
    public float[] predict(float[] tile, Size size) throws AppException {
        float[] pixels = new float[tile.length];
        int area = size.height * size.width;
        for (int index = 0; index < tile.length; index++) {
            pixels[index % area * 3 + index / area] = tile[index];
        }
        float[] made = inner.predict(pixels, size);
        int larger = area * scale * scale;
        if (made.length != 3 * larger) {
            return made; // Whoever asked for it says that this is wrong.
        }
        float[] planes = new float[made.length];
        for (int index = 0; index < made.length; index++) {
            planes[index % 3 * larger + index / 3] = made[index];
        }
        return planes;
    }
}
