package org.edgesr.core;

/** An upright photo: straight (not premultiplied) 8-bit colours as 0xAARRGGBB, row by row from the top. */
public final class Photo {
    public final int width;
    public final int height;
    public final int[] argb;

    public Photo(int width, int height, int[] argb) {
        if (argb.length != width * height) {
            throw new IllegalArgumentException(argb.length + " pixels are not " + width + "x" + height);
        }
        this.width = width;
        this.height = height;
        this.argb = argb;
    }

    /** Any pixel that is not opaque. */
    public boolean hasAlpha() {
        for (int pixel : argb) {
            if (pixel >>> 24 != 255) {
                return true;
            }
        }
        return false;
    }

    /** Every pixel is grey: a decoded photo does not say how it was stored. */
    public boolean isGrey() {
        for (int pixel : argb) {
            int red = pixel >> 16 & 255;
            if (red != (pixel >> 8 & 255) || red != (pixel & 255)) {
                return false;
            }
        }
        return true;
    }

    /** Mean of the colours, in 0 to 1. */
    double mean() {
        double sum = 0;
        for (int pixel : argb) {
            sum += (pixel >> 16 & 255) + (pixel >> 8 & 255) + (pixel & 255);
        }
        return sum / (3.0 * 255 * Math.max(argb.length, 1));
    }

    /** Mean of alpha, in 0 to 1. */
    double alphaMean() {
        double sum = 0;
        for (int pixel : argb) {
            sum += pixel >>> 24;
        }
        return sum / (255.0 * Math.max(argb.length, 1));
    }
}
