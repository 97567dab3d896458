package org.edgesr.core;

import java.util.ArrayList;
import java.util.List;

/** What a network asks of a side, and the cutting of one: as edgesr/tiling.py, number for number. */
public final class SideRule {
    public final int haloPx;
    public final int minSidePx;
    public final int multiplePx;

    public SideRule(int haloPx, int minSidePx, int multiplePx) {
        this.haloPx = haloPx;
        this.minSidePx = minSidePx;
        this.multiplePx = multiplePx;
    }

    /** A tile along one side: start of its input, and its core. */
    static final class Span {
        final int start;
        final int coreStart;
        final int coreEnd;

        Span(int start, int coreStart, int coreEnd) {
            this.start = start;
            this.coreStart = coreStart;
            this.coreEnd = coreEnd;
        }
    }

    private static int ceilDiv(int value, int by) {
        return (value + by - 1) / by;
    }

    int up(int px) {
        return ceilDiv(px, multiplePx) * multiplePx;
    }

    int padded(int side) {
        return up(Math.max(side, minSidePx));
    }

    /** One step of core between two halos. */
    int smallestTile() {
        return Math.max(padded(1), up(2 * haloPx) + multiplePx);
    }

    /** The shortest tile with which at most `count` tiles cover a side. */
    int tileForCount(int side, int count) {
        if (count == 1) {
            return padded(side);
        }
        int steps = padded(side) / multiplePx;
        int haloSteps = up(2 * haloPx) / multiplePx;
        int tile = ceilDiv(steps + (count - 1) * haloSteps, count) * multiplePx;
        return Math.min(Math.max(tile, smallestTile()), padded(side));
    }

    /** Tiles of length `tile` whose cores partition 0 to `side`. */
    List<Span> spans(int side, int tile) throws AppException {
        if (tile < minSidePx || tile % multiplePx != 0) {
            throw new AppException(
                    AppException.Kind.ARTIFACT,
                    "A tile side of " + tile + " px does not suit the network: at least " + minSidePx
                            + " px, in steps of " + multiplePx + ".");
        }
        List<Span> found = new ArrayList<>();
        int length = padded(side);
        if (tile >= length) {
            found.add(new Span(0, 0, side));
            return found;
        }
        int stride = tile < 2 * haloPx ? 0 : (tile - 2 * haloPx) / multiplePx;
        if (stride < 1) {
            throw new AppException(
                    AppException.Kind.ARTIFACT,
                    "A tile side of " + tile + " px leaves nothing between two halos of " + haloPx + " px.");
        }
        int free = (length - tile) / multiplePx;
        int gaps = ceilDiv(free, stride);
        int cut = 0;
        for (int index = 0; index <= gaps; index++) {
            int start = (int) ((long) index * free / gaps) * multiplePx;
            int next = (int) ((long) (index + 1) * free / gaps) * multiplePx;
            // The border between two tiles lies in the middle of their overlap: both then have at least the halo.
            int end = index == gaps ? side : (start + next + tile) / 2;
            found.add(new Span(start, cut, end));
            cut = end;
        }
        return found;
    }
}
