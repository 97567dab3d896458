package org.edgesr.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;

/** How an image is cut; every tile has the size `tile` at the network's input, and the cores partition the image. */
public final class TilePlan {
    private static final double BYTES_PER_MB = 1_000_000;

    public final int height;
    public final int width;
    public final int scale;
    public final Size tile;
    public final List<Box> boxes;

    private TilePlan(int height, int width, int scale, Size tile, List<Box> boxes) {
        this.height = height;
        this.width = width;
        this.scale = scale;
        this.tile = tile;
        this.boxes = Collections.unmodifiableList(boxes);
    }

    /** Computed pixels per needed pixel; 1 is perfect. */
    public double waste() {
        return (double) boxes.size() * tile.area() / ((double) height * width);
    }

    /** `tile` is the exact size of every tile; null is one tile for all. */
    public static TilePlan of(int height, int width, SideRule rule, int scale, Size tile) throws AppException {
        if (Math.min(height, width) < 1) {
            throw new AppException(AppException.Kind.PHOTO, "An image of " + width + "x" + height + " has no pixels.");
        }
        Size wanted = tile != null ? tile : new Size(rule.padded(height), rule.padded(width));
        List<Box> boxes = new ArrayList<>();
        List<SideRule.Span> columns = rule.spans(width, wanted.width);
        for (SideRule.Span row : rule.spans(height, wanted.height)) {
            for (SideRule.Span column : columns) {
                boxes.add(new Box(row, column));
            }
        }
        return new TilePlan(height, width, scale, wanted, boxes);
    }

    /** The artifact's own size where it has some, of several the one that computes least; else what fits the memory. */
    public static TilePlan of(int height, int width, Manifest manifest, double memoryMb) throws AppException {
        if (manifest.sizes.isEmpty()) {
            // The rule of edgesr/upscale.py, which budgets before it rounds to multiples.
            SideRule free = new SideRule(manifest.rule.haloPx, manifest.rule.minSidePx, 1);
            Size tile = forBudget(height, width, free, manifest.peakBytesPerPx, memoryMb);
            return of(height, width, manifest.rule, manifest.scale, tile);
        }
        TilePlan best = null;
        for (Size size : manifest.sizes) {
            TilePlan plan = of(height, width, manifest.rule, manifest.scale, size);
            if (best == null || plan.waste() < best.waste()) {
                best = plan;
            }
        }
        return best;
    }

    /** The tile that computes the fewest pixels within a memory budget; null: the whole image fits. */
    static Size forBudget(int height, int width, SideRule rule, long bytesPerPx, double budgetMb) throws AppException {
        Size whole = new Size(rule.padded(height), rule.padded(width));
        long areaPx = (long) (Math.max(budgetMb, 0) * BYTES_PER_MB / bytesPerPx);
        if (whole.area() <= areaPx) {
            return null;
        }
        Size best = null;
        long[] least = null;
        for (Size tile : evenTiles(rule, height, width, areaPx)) {
            if (tile.area() > areaPx) {
                continue;
            }
            long count = (long) rule.spans(height, tile.height).size() * rule.spans(width, tile.width).size();
            long[] cost = {count * tile.area(), count, Math.max(tile.height, tile.width)};
            if (least == null || isLess(cost, least)) {
                best = tile;
                least = cost;
            }
        }
        if (best == null) {
            int side = rule.smallestTile();
            double needed = (double) Math.min(side, whole.height) * Math.min(side, whole.width) * bytesPerPx / BYTES_PER_MB;
            String text = String.format(Locale.ROOT, "The smallest tile needs %.0f MB of memory. Choose a smaller model.", needed);
            throw new AppException(AppException.Kind.MEMORY, text);
        }
        return best;
    }

    /** For every number of rows: the tile that needs the fewest columns within `areaPx`. */
    private static Iterable<Size> evenTiles(SideRule rule, int height, int width, long areaPx) throws AppException {
        LinkedHashSet<Size> tiles = new LinkedHashSet<>();
        for (int rows = 1; rows <= rule.padded(height) / rule.multiplePx; rows++) {
            int tileHeight = rule.tileForCount(height, rows);
            long fits = areaPx / tileHeight / rule.multiplePx * rule.multiplePx;
            int widest = (int) Math.min(fits, rule.padded(width));
            if (widest < Math.min(rule.smallestTile(), rule.padded(width))) {
                continue;
            }
            int columns = rule.spans(width, widest).size();
            tiles.add(new Size(tileHeight, rule.tileForCount(width, columns)));
            if (tileHeight <= rule.smallestTile()) {
                break; // more rows would all have this height
            }
        }
        return tiles;
    }

    private static boolean isLess(long[] one, long[] other) {
        for (int index = 0; index < one.length; index++) {
            if (one[index] != other[index]) {
                return one[index] < other[index];
            }
        }
        return false;
    }
}
