package org.edgesr.core;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Answers lines of standard input, so that tests/test_android_native.py can ask the app's own code. */
final class CoreCheck {
    private final Deque<String> words;

    private CoreCheck(String line) {
        words = new ArrayDeque<>(Arrays.asList(line.split("\u001f", -1)));
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String said;
            try {
                said = new CoreCheck(line).answer();
            } catch (AppException error) {
                said = "refused " + error.kind + " " + error.getMessage();
            }
            System.out.println(said);
        }
    }

    private String answer() throws AppException {
        switch (words.pop()) {
            case "plan":
                return boxes(TilePlan.of(number(), number(), rule(), number(), size()));
            case "budget":
                Size tile = TilePlan.forBudget(number(), number(), rule(), number(), number());
                return String.valueOf(tile);
            case "pixels":
                return pixels(CoreCheck::squares);
            case "pixels, channels last":
                return pixels(new ChannelsLast(CoreCheck::squaresOfPixels, 2));
            case "output":
                return output();
            case "colour and alpha":
                return colourAndAlpha();
            case "records":
                return records(manifest());
            default:
                Manifest read = manifest();
                TilePlan plan = TilePlan.of(96, 128, read, 300);
                return read.slug + " " + read.sizes + " " + plan.tile + " " + read.file(plan.tile).name;
        }
    }

    private int number() {
        return Integer.parseInt(words.pop());
    }

    private SideRule rule() {
        return new SideRule(number(), number(), number());
    }

    private Size size() {
        return new Size(number(), number());
    }

    private static String boxes(TilePlan plan) {
        StringBuilder said = new StringBuilder();
        for (Box box : plan.boxes) {
            said.append(box.top).append(' ').append(box.left).append(' ').append(box.coreTop).append(' ');
            said.append(box.coreLeft).append(' ').append(box.coreBottom).append(' ').append(box.coreRight).append(' ');
        }
        return said.toString().trim();
    }

    private Photo photo() {
        int width = number();
        int height = number();
        int[] argb = new int[width * height];
        for (int index = 0; index < argb.length; index++) {
            argb[index] = Integer.parseUnsignedInt(words.pop());
        }
        return new Photo(width, height, argb);
    }

    /** Every value's square, each pixel twice in both directions. */
    private static float[] squares(float[] tile, Size size) {
        float[] made = new float[tile.length * 4];
        for (int index = 0; index < made.length; index++) {
            int x = index % (2 * size.width);
            int y = index / (2 * size.width) % (2 * size.height);
            int channel = index / (4 * size.width * size.height);
            float value = tile[(channel * size.height + y / 2) * size.width + x / 2];
            made[index] = value * value;
        }
        return made;
    }

    /** The same for channels that lie beside each other. */
    private static float[] squaresOfPixels(float[] tile, Size size) {
        float[] made = new float[tile.length * 4];
        for (int index = 0; index < made.length; index++) {
            int pixel = index / 3;
            int x = pixel % (2 * size.width);
            int y = pixel / (2 * size.width);
            float value = tile[(y / 2 * size.width + x / 2) * 3 + index % 3];
            made[index] = value * value;
        }
        return made;
    }

    private String pixels(TileModel model) throws AppException {
        Photo photo = photo();
        TilePlan plan = TilePlan.of(photo.height, photo.width, rule(), 2, size());
        Photo large = Upscaling.run(photo, plan, model, (done, of, took) -> took >= 0);
        StringBuilder said = new StringBuilder();
        for (int pixel : large.argb) {
            said.append(Integer.toUnsignedString(pixel)).append(' ');
        }
        return said.toString().trim();
    }

    /** A model that gives `count` numbers of one value; stopped after the first tile if it ends well. */
    private String output() throws AppException {
        float value = Float.parseFloat(words.pop());
        int count = number();
        int[] white = new int[64];
        Arrays.fill(white, -1);
        TilePlan plan = TilePlan.of(8, 8, new SideRule(0, 1, 1), 2, new Size(4, 4));
        float[] made = new float[count];
        Arrays.fill(made, value);
        boolean[] goesOn = {words.pop().equals("on")};
        Photo large = Upscaling.run(new Photo(8, 8, white), plan, (tile, size) -> made, (done, of, took) -> goesOn[0]);
        return large == null ? "stopped" : large.width + "x" + large.height;
    }

    /** A model that gives one value for the colour of a half transparent photo and one for its alpha. */
    private String colourAndAlpha() throws AppException {
        float[] values = {Float.parseFloat(words.pop()), Float.parseFloat(words.pop())};
        int[] half = new int[16];
        Arrays.fill(half, 0x80ffffff);
        TilePlan plan = TilePlan.of(4, 4, new SideRule(0, 1, 1), 2, new Size(4, 4));
        int[] asked = {0};
        TileModel model = (tile, size) -> {
            float[] made = new float[192];
            Arrays.fill(made, values[asked[0]++ % 2]);
            return made;
        };
        return "made " + Upscaling.run(new Photo(4, 4, half), plan, model, (done, of, took) -> true).width;
    }

    private Manifest manifest() throws AppException {
        return new Manifest((Map<?, ?>) value());
    }

    /** Prefix notation: { count key value ..., [ count value ..., s text, n number, z. */
    private Object value() {
        switch (words.pop()) {
            case "{":
                Map<String, Object> table = new HashMap<>();
                for (int left = number(); left > 0; left--) {
                    table.put(words.pop(), value());
                }
                return table;
            case "[":
                List<Object> list = new ArrayList<>();
                for (int left = number(); left > 0; left--) {
                    list.add(value());
                }
                return list;
            case "s":
                return words.pop();
            case "n":
                return Double.valueOf(words.pop());
            default:
                return null;
        }
    }

    private static String records(Manifest manifest) {
        Map<String, String> ran = Map.of("runtime", "onnxruntime 1", "precision", "int8", "threads", "4");
        String sum = "0".repeat(64);
        Records made = new Records(
                manifest, sum, new Size(96, 128), "2026-01-02T03:04:05Z", "0.1.0", 4, "a phone", Map.of(), 8, sum);
        made.add(5, 4, List.of(3L), List.of(1L, 2L), 0.5, ran);
        made.add(5, 4, List.of(3L), List.of(1L, 2L), 0.5, ran);
        List<String> lines = new ArrayList<>();
        for (Map<String, Object> line : made.ended()) {
            lines.add(json(line));
        }
        return String.join("\u001f", lines);
    }

    private static String json(Object value) {
        List<String> parts = new ArrayList<>();
        if (value instanceof Map) {
            ((Map<?, ?>) value).forEach((key, each) -> parts.add("\"" + key + "\":" + json(each)));
            return "{" + String.join(",", parts) + "}";
        }
        if (value instanceof List) {
            ((List<?>) value).forEach(each -> parts.add(json(each)));
            return "[" + String.join(",", parts) + "]";
        }
        return value instanceof String ? "\"" + value + "\"" : String.valueOf(value);
    }
}
