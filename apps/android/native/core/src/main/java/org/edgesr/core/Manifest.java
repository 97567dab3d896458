package org.edgesr.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** The part of manifest.json that the app needs. Schema 1 of edgesr/artifact.py; nothing in it is trusted.
 *
 * It is given as maps, lists, texts and numbers, so that this class needs no reader of JSON. */
public final class Manifest {
    private static final int SCHEMA = 1;
    private static final int LARGEST = 100_000;
    /** Of the tensors, by the target. */
    private static final Map<String, String> LAYOUTS =
            new TreeMap<>(Map.of("onnxruntime", "NCHW", "executorch", "NCHW", "tflite", "NHWC"));
    /** How the files of targets end that have one for each size. */
    private static final Map<String, String> ENDINGS = Map.of("executorch", ".pte", "tflite", ".tflite");

    /** One file of the artifact, by its name relative to the artifact's folder. */
    public static final class FileEntry {
        public final String name;
        public final String sha256;
        public final long bytes;

        FileEntry(String name, String sha256, long bytes) {
            this.name = name;
            this.sha256 = sha256;
            this.bytes = bytes;
        }
    }

    public final String target;
    public final String slug;
    public final String model;
    public final String precision;
    public final int scale;
    public final FileEntry main;
    public final List<FileEntry> files;
    public final String inputName;
    public final String outputName;
    public final SideRule rule;
    public final long peakBytesPerPx;
    /** Empty: any. */
    public final List<Size> sizes;
    public final String weightsKind;

    /** Throws AppException that names the field. */
    public Manifest(Map<?, ?> top) throws AppException {
        if (whole(top, "", "schema", 0, 1000, null) != SCHEMA) {
            throw wrong("schema", "is not " + SCHEMA);
        }
        Map<?, ?> request = table(top.get("request"), "request");
        target = word(request, "request.", "target");
        if (!LAYOUTS.containsKey(target)) {
            throw wrong("request.target", "is none of " + LAYOUTS.keySet() + ", which this app runs");
        }
        slug = word(top, "", "slug");
        model = word(request, "request.", "model");
        precision = word(request, "request.", "precision");
        scale = (int) whole(top, "", "scale", 1, 8, null);
        List<FileEntry> entries = new ArrayList<>();
        for (Object each : list(top, "", "files")) {
            entries.add(entry(table(each, "files")));
        }
        files = Collections.unmodifiableList(entries);
        main = find(word(top, "", "main"));
        inputName = tensor(top, "inputs", LAYOUTS.get(target));
        outputName = tensor(top, "outputs", LAYOUTS.get(target));
        rule = new SideRule(
                (int) whole(top, "", "halo_px", 0, LARGEST, null),
                (int) whole(top, "", "min_side_px", 1, LARGEST, null),
                (int) whole(top, "", "multiple_px", 1, LARGEST, 1L));
        peakBytesPerPx = whole(top, "", "peak_bytes_per_px", 1, 1L << 40, null);
        List<Size> found = new ArrayList<>();
        for (Object each : list(request, "request.", "sizes")) {
            found.add(size(each));
        }
        sizes = Collections.unmodifiableList(found);
        checkFiles();
        weightsKind = word(table(top.get("weights"), "weights"), "weights.", "kind");
    }

    /** What to open for tiles of `size`, which must be one of `sizes` unless those are empty. Throws AppException. */
    public FileEntry file(Size size) throws AppException {
        String ending = ENDINGS.get(target);
        if (ending == null || sizes.size() == 1) {
            return main;
        }
        String name = "model_" + size + ending;
        FileEntry entry = named(name);
        if (entry == null) {
            throw wrong("files", "has no " + name);
        }
        return entry;
    }

    private void checkFiles() throws AppException {
        if (ENDINGS.containsKey(target) && sizes.isEmpty()) {
            throw wrong("request.sizes", "is empty; " + target + " needs sizes");
        }
        for (Size each : sizes) {
            file(each);
        }
    }

    private FileEntry find(String name) throws AppException {
        FileEntry entry = named(name);
        if (entry == null) {
            throw wrong("main", "is not among the files");
        }
        return entry;
    }

    private FileEntry named(String name) {
        for (FileEntry each : files) {
            if (each.name.equals(name)) {
                return each;
            }
        }
        return null;
    }

    private static AppException wrong(String field, String what) {
        String text = "This model cannot be used: in its manifest.json, " + field + " " + what + ". Make the bundle again.";
        return new AppException(AppException.Kind.ARTIFACT, text);
    }

    private static Map<?, ?> table(Object value, String field) throws AppException {
        if (!(value instanceof Map)) {
            throw wrong(field, "is not an object");
        }
        return (Map<?, ?>) value;
    }

    private static List<?> list(Map<?, ?> table, String path, String key) throws AppException {
        Object value = table.get(key);
        if (!(value instanceof List)) {
            throw wrong(path + key, "is not a list");
        }
        return (List<?>) value;
    }

    private static String word(Map<?, ?> table, String path, String key) throws AppException {
        Object value = table.get(key);
        if (!(value instanceof String) || ((String) value).isEmpty()) {
            throw wrong(path + key, "is not a text");
        }
        return (String) value;
    }

    private static long whole(Map<?, ?> table, String path, String key, long least, long most, Long otherwise)
            throws AppException {
        Object value = table.get(key);
        if (value == null && otherwise != null) {
            return otherwise;
        }
        double number = value instanceof Number ? ((Number) value).doubleValue() : Double.NaN;
        if (!(number >= least && number <= most) || number != Math.rint(number)) {
            throw wrong(path + key, "must be a whole number from " + least + " to " + most);
        }
        return (long) number;
    }

    private static FileEntry entry(Map<?, ?> table) throws AppException {
        String name = word(table, "files.", "name");
        boolean isPlain = name.indexOf('\\') < 0 && name.indexOf(':') < 0 && name.indexOf('\0') < 0;
        for (String part : name.split("/", -1)) {
            isPlain = isPlain && !part.isEmpty() && !part.equals(".") && !part.equals("..");
        }
        if (!isPlain) {
            throw wrong("files.name", "is not a plain file name");
        }
        String sha256 = word(table, "files.", "sha256").toLowerCase(Locale.ROOT);
        if (!sha256.matches("[0-9a-f]{64}")) {
            throw wrong("files.sha256", "is not a SHA-256 in hexadecimal");
        }
        return new FileEntry(name, sha256, whole(table, "files.", "bytes", 0, 1L << 40, null));
    }

    /** The name of the one tensor, which must be float32 RGB in 0 to 1. */
    private static String tensor(Map<?, ?> top, String field, String layout) throws AppException {
        List<?> specs = list(top, "", field);
        if (specs.size() != 1) {
            throw wrong(field, "must have one entry");
        }
        Map<?, ?> spec = table(specs.get(0), field);
        for (List<String> each : Arrays.asList(
                Arrays.asList("dtype", "float32"), Arrays.asList("layout", layout), Arrays.asList("colour", "RGB"))) {
            if (!word(spec, field + ".", each.get(0)).equals(each.get(1))) {
                throw wrong(field + "." + each.get(0), "is not " + each.get(1));
            }
        }
        List<?> range = list(spec, field + ".", "value_range");
        if (range.size() != 2 || !isNumber(range.get(0), 0) || !isNumber(range.get(1), 1)) {
            throw wrong(field + ".value_range", "is not [0, 1]");
        }
        return word(spec, field + ".", "name");
    }

    private static boolean isNumber(Object value, double expected) {
        return value instanceof Number && ((Number) value).doubleValue() == expected;
    }

    private static Size size(Object value) throws AppException {
        int[] sides = new int[2];
        boolean isGood = value instanceof List && ((List<?>) value).size() == 2;
        for (int index = 0; isGood && index < 2; index++) {
            Object side = ((List<?>) value).get(index);
            double number = side instanceof Number ? ((Number) side).doubleValue() : Double.NaN;
            isGood = number >= 1 && number <= LARGEST && number == Math.rint(number);
            sides[index] = isGood ? (int) number : 0;
        }
        if (!isGood) {
            throw wrong("request.sizes", "must hold [height, width]");
        }
        return new Size(sides[0], sides[1]);
    }
}
