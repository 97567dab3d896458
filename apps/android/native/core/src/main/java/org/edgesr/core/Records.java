package org.edgesr.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The lines of a measurement, as edgesr/bench/records.py defines them (schema 1); each becomes one line of JSON. */
public final class Records {
    private final List<Map<String, Object>> lines = new ArrayList<>();
    private int repeats;

    /** `identity`, `inputsSha256`: in hexadecimal. `startedAt`: ISO 8601 with a time zone. */
    public Records(
            Manifest manifest,
            String identity,
            Size size,
            String startedAt,
            String edgesr,
            int threads,
            String device,
            Map<String, String> facts,
            int inputs,
            String inputsSha256) {
        long bytes = 0;
        for (Manifest.FileEntry each : manifest.files) {
            bytes += each.bytes;
        }
        Map<String, Object> subject = table(
                "sha256", identity, "name", manifest.slug, "target", manifest.target, "precision",
                manifest.precision, "scale", manifest.scale, "size", Arrays.asList(size.height, size.width), "bytes", bytes,
                "model", manifest.model, "weights", manifest.weightsKind, "halo_px", manifest.rule.haloPx,
                "fixed_size", !manifest.sizes.isEmpty());
        Map<String, Object> where = table("name", device, "address", "app", "kind", "device", "facts", facts);
        lines.add(table(
                "kind", "start", "schema", 1,
                "run", "android-" + manifest.slug + "-" + startedAt.replaceAll("[^0-9A-Za-z]", ""),
                "started_at", startedAt, "edgesr", edgesr, "subject", subject,
                "regime", table("profile", "android", "threads", threads),
                "where", where,
                "inputs", table("count", inputs, "source", "a photo", "sha256", inputsSha256)));
    }

    /** One cold start and what was timed after it. `atS`: seconds from the first of `rawNs` to the end of the last. */
    public void add(long loadNs, long firstNs, List<Long> warmupNs, List<Long> rawNs, double atS, Map<String, String> runtime) {
        int number = repeats++;
        lines.add(table(
                "kind", "opened", "repeat", number, "load_ns", loadNs, "first_ns", firstNs, "warmup_ns", warmupNs,
                "runtime", runtime));
        lines.add(table("kind", "samples", "repeat", number, "raw_ns", rawNs, "at_s", atS));
        lines.add(table("kind", "closed", "repeat", number, "reason", "enough"));
    }

    public List<Map<String, Object>> ended() {
        List<Map<String, Object>> all = new ArrayList<>(lines);
        all.add(table("kind", "end"));
        return all;
    }

    private static Map<String, Object> table(Object... pairs) {
        Map<String, Object> made = new LinkedHashMap<>();
        for (int index = 0; index < pairs.length; index += 2) {
            made.put((String) pairs[index], pairs[index + 1]);
        }
        return made;
    }
}
