package org.edgesr.core;

import java.util.Arrays;

/** Colour for what is invisible, so that the network sees no edge where an object ends. The rounds are those of
 * edgesr/transparency.py. */
public final class Transparency {
    private static final int REACH_PX = 32;
    /** Smallest alpha of a pixel whose colour counts. */
    private static final int HAS_COLOUR = 8;
    /** (x, y) from a pixel: left, right, above, below, then the corners. */
    private static final int[][] NEIGHBOURS = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {1, -1}, {-1, 1}, {1, 1}};

    private final Photo photo;
    private final boolean[] open;
    private int[] newest = new int[64];
    private int count;

    private Transparency(Photo photo) {
        this.photo = photo;
        open = new boolean[photo.argb.length];
    }

    /** The photo with the colour of what is visible in the barely visible pixels beside it. In each of 32 rounds, every pixel
     * without colour takes that of the first of its neighbours that had one before the round. */
    public static Photo colourCarriedOn(Photo photo) {
        Transparency work = new Transparency(photo);
        int[] argb = photo.argb.clone();
        work.findRim();
        for (int round = 0; round < REACH_PX && work.count > 0; round++) {
            work.carryOn(argb);
        }
        return new Photo(photo.width, photo.height, argb);
    }

    private void findRim() {
        for (int i = 0; i < open.length; i++) {
            open[i] = photo.argb[i] >>> 24 < HAS_COLOUR;
        }
        for (int i = 0; i < open.length; i++) {
            if (!open[i] && isBesideOpen(i)) {
                add(i);
            }
        }
    }

    private boolean isBesideOpen(int pixel) {
        for (int[] step : NEIGHBOURS) {
            int at = beside(pixel, step[0], step[1]);
            if (at >= 0 && open[at]) {
                return true;
            }
        }
        return false;
    }

    private void carryOn(int[] argb) {
        int[] before = Arrays.copyOf(newest, count);
        count = 0;
        for (int[] step : NEIGHBOURS) {
            for (int from : before) {
                int to = beside(from, -step[0], -step[1]);
                if (to >= 0 && open[to]) {
                    open[to] = false;
                    argb[to] = argb[to] & 0xff000000 | argb[from] & 0xffffff;
                    add(to);
                }
            }
        }
    }

    private void add(int pixel) {
        if (count == newest.length) {
            newest = Arrays.copyOf(newest, 2 * count);
        }
        newest[count++] = pixel;
    }

    /** The neighbour of a pixel, -1 outside. */
    private int beside(int pixel, int right, int down) {
        int x = pixel % photo.width + right;
        int y = pixel / photo.width + down;
        return x < 0 || x >= photo.width || y < 0 || y >= photo.height ? -1 : y * photo.width + x;
    }
}
