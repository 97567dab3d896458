package org.edgesr.core;

/** A whole photo, tile by tile, with the arithmetic of edgesr/images.py: the network sees colours that were carried on into
 * what is invisible, grey stays grey, results are clipped and a half is rounded up. */
public final class Upscaling {
    private static final float VISIBLE = 0.5f / 255;

    /** Told after every tile. */
    public interface Progress {
        /** False stops the work. */
        boolean tile(int done, int of, long tookNs);
    }

    private final Photo photo;
    /** What the network sees of it. */
    private final Photo seen;
    private final TilePlan plan;
    private final boolean hasAlpha;
    private final boolean isGrey;
    private final int[] result;
    private float brightestColour;
    private float brightestAlpha;

    private Upscaling(Photo photo, TilePlan plan) {
        this.photo = photo;
        this.plan = plan;
        hasAlpha = photo.hasAlpha();
        seen = hasAlpha ? Transparency.colourCarriedOn(photo) : photo;
        isGrey = photo.isGrey();
        result = new int[photo.argb.length * plan.scale * plan.scale];
    }

    /** The larger photo; null if it was stopped. Throws AppException for what must never be shown. */
    public static Photo run(Photo photo, TilePlan plan, TileModel model, Progress progress) throws AppException {
        Upscaling work = new Upscaling(photo, plan);
        int done = 0;
        for (Box box : plan.boxes) {
            long began = System.nanoTime();
            float[] colour = work.answer(model, box, false);
            float[] alpha = work.hasAlpha ? work.answer(model, box, true) : null;
            long took = System.nanoTime() - began;
            work.paste(box, colour, alpha);
            done += 1;
            if (!progress.tile(done, plan.boxes.size(), took)) {
                return null;
            }
        }
        work.checkNotBlack();
        return new Photo(photo.width * plan.scale, photo.height * plan.scale, work.result);
    }

    private float[] answer(TileModel model, Box box, boolean ofAlpha) throws AppException {
        float[] numbers = model.predict(input(seen, plan, box, ofAlpha), plan.tile);
        long expected = 3L * plan.tile.area() * plan.scale * plan.scale;
        if (numbers.length != expected) {
            String text = "The model gave " + numbers.length + " numbers, not " + expected + ". Make the bundle again.";
            throw new AppException(AppException.Kind.ARTIFACT, text);
        }
        float brightest = 0;
        for (float number : numbers) {
            if (Float.isNaN(number) || Float.isInfinite(number)) {
                throw new AppException(
                        AppException.Kind.OUTPUT,
                        "The network returned NaN or infinity: this model does not work here. Choose another.");
            }
            brightest = Math.max(brightest, number);
        }
        if (ofAlpha) {
            brightestAlpha = Math.max(brightestAlpha, brightest);
        } else {
            brightestColour = Math.max(brightestColour, brightest);
        }
        return numbers;
    }

    /** Of colour and alpha each: one that is bright must not hide that the other is black. */
    private void checkNotBlack() throws AppException {
        boolean lostColour = brightestColour < VISIBLE && seen.mean() > 2.0 / 255;
        boolean lostAlpha = hasAlpha && brightestAlpha < VISIBLE && photo.alphaMean() > 2.0 / 255;
        if (lostColour || lostAlpha) {
            throw new AppException(
                    AppException.Kind.OUTPUT,
                    "The network returned a black image although the photo is not: this model does not work here. "
                            + "Choose another.");
        }
    }

    /** Float32 (1, 3, tile height, tile width). */
    public static float[] input(Photo photo, TilePlan plan, Box box, boolean ofAlpha) {
        int height = plan.tile.height;
        int width = plan.tile.width;
        int area = height * width;
        float[] unit = new float[3 * area];
        for (int y = 0; y < height; y++) {
            int row = reflected(box.top + y, photo.height) * photo.width;
            for (int x = 0; x < width; x++) {
                int pixel = photo.argb[row + reflected(box.left + x, photo.width)];
                for (int channel = 0; channel < 3; channel++) {
                    int level = ofAlpha ? pixel >>> 24 : pixel >> (16 - 8 * channel) & 255;
                    unit[channel * area + y * width + x] = level / 255f;
                }
            }
        }
        return unit;
    }

    /** numpy's "reflect" on the right and bottom. */
    static int reflected(int index, int length) {
        if (index < length) {
            return index;
        }
        if (length == 1) {
            return 0;
        }
        int period = 2 * (length - 1);
        int place = index % period;
        return place < length ? place : period - place;
    }

    private void paste(Box box, float[] colour, float[] alpha) {
        int scale = plan.scale;
        int tileWidth = plan.tile.width * scale;
        int area = plan.tile.height * scale * tileWidth;
        float[] rgb = new float[3];
        for (int y = box.coreTop * scale; y < box.coreBottom * scale; y++) {
            for (int x = box.coreLeft * scale; x < box.coreRight * scale; x++) {
                int at = (y - box.top * scale) * tileWidth + x - box.left * scale;
                float opacity = alpha == null ? 1 : 0;
                for (int channel = 0; channel < 3; channel++) {
                    rgb[channel] = clipped(colour[at + channel * area]);
                    opacity += alpha == null ? 0 : clipped(alpha[at + channel * area]) / 3;
                }
                if (opacity < VISIBLE) {
                    keep(rgb, photo.argb[y / scale * photo.width + x / scale]);
                }
                result[y * plan.width * scale + x] = pixel(rgb, opacity);
            }
        }
    }

    /** The colour of the source. */
    private static void keep(float[] rgb, int source) {
        for (int channel = 0; channel < 3; channel++) {
            rgb[channel] = (source >> (16 - 8 * channel) & 255) / 255f;
        }
    }

    private int pixel(float[] rgb, float opacity) {
        if (isGrey) {
            float mean = (rgb[0] + rgb[1] + rgb[2]) / 3;
            rgb[0] = mean;
            rgb[1] = mean;
            rgb[2] = mean;
        }
        return level(opacity) << 24 | level(rgb[0]) << 16 | level(rgb[1]) << 8 | level(rgb[2]);
    }

    private static float clipped(float number) {
        return Math.min(Math.max(number, 0), 1);
    }

    private static int level(float unit) {
        return (int) Math.floor(unit * 255 + 0.5f);
    }
}
