package org.edgesr.sample;

import java.util.Locale;

/** Addresses, names and types, without anything of Android: tested on any JVM. */
final class Paths {
    /** Kept free for pages in apps by Android's makers: no server answers there. */
    static final String HOST = "appassets.androidplatform.net";

    /** Where the camera app puts its photo. */
    static final String PICTURE = "picture.jpg";

    private static final int LONGEST = 100;

    private Paths() {}

    /** The asset for an address of the page; null for one that is not the page's own. */
    static String inAssets(String scheme, String host, String path) {
        if (!"https".equals(scheme) || !HOST.equals(host) || path == null || !path.startsWith("/")) {
            return null;
        }
        String name = path.equals("/") ? "index.html" : path.substring(1);
        for (String part : name.split("/", -1)) {
            if (part.isEmpty() || part.startsWith(".") || part.indexOf('\\') >= 0) {
                return null;
            }
        }
        return "www/" + name;
    }

    /** What WebAssembly and module scripts must be sent as; else the browser refuses them. */
    static String type(String path) {
        String suffix = path.substring(path.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
        switch (suffix) {
            case "html":
                return "text/html";
            case "js":
            case "mjs":
                return "text/javascript";
            case "css":
                return "text/css";
            case "json":
            case "webmanifest":
                return "application/json";
            case "svg":
                return "image/svg+xml";
            case "txt":
                return "text/plain";
            case "wasm":
                return "application/wasm";
            default:
                return "application/octet-stream";
        }
    }

    static boolean isText(String type) {
        return type.startsWith("text/") || type.equals("application/json") || type.equals("image/svg+xml");
    }

    /** Whether the file `old` goes when `fresh` comes: a camera's photo replaces one, and no result that is on its way. */
    static boolean givesWay(String old, String fresh) {
        return old.equals(PICTURE) == fresh.equals(PICTURE);
    }

    /** A name for a file in the app's own folder: whatever the page says, it stays there. */
    static String plainName(String wanted) {
        StringBuilder name = new StringBuilder();
        for (int index = 0; index < wanted.length() && name.length() < LONGEST; index++) {
            char sign = wanted.charAt(index);
            boolean isPlain = Character.isLetterOrDigit(sign) || sign == '-' || sign == '_' || sign == ' ';
            name.append(isPlain || (sign == '.' && name.length() > 0) ? sign : '_');
        }
        return name.length() == 0 ? "photo" : name.toString();
    }
}
