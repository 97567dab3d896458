package org.edgesr.sample;

import android.net.Uri;
import android.provider.DocumentsContract;
import android.util.Base64;
import android.webkit.JavascriptInterface;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** Takes files from the page, which a WebView cannot download: begin, append (base64) ..., then save or share. */
final class Outbox {
    private static final int BUFFER = 1 << 16;

    private final MainActivity activity;
    private File file;
    private String type;
    private OutputStream stream;

    Outbox(MainActivity activity) {
        this.activity = activity;
    }

    /** An empty place for a file; of results and of the camera's photos, only the last one is kept. */
    File fresh(String wanted) {
        String name = Paths.plainName(wanted);
        File folder = Files.folder(activity);
        File[] old = folder.listFiles();
        if (old != null) {
            for (File each : old) {
                if (Paths.givesWay(each.getName(), name)) {
                    each.delete();
                }
            }
        }
        folder.mkdirs();
        return new File(folder, name);
    }

    @JavascriptInterface
    public synchronized boolean begin(String name, String kind) {
        close();
        try {
            file = fresh(name);
            type = kind.matches("[a-z]+/[a-z0-9.+-]+") ? kind : "application/octet-stream";
            stream = new FileOutputStream(file);
            return true;
        } catch (IOException error) {
            return failed();
        }
    }

    @JavascriptInterface
    public synchronized boolean append(String base64) {
        try {
            if (stream == null) {
                return false;
            }
            stream.write(Base64.decode(base64, Base64.DEFAULT));
            return true;
        } catch (IOException | IllegalArgumentException error) {
            return failed();
        }
    }

    @JavascriptInterface
    public synchronized boolean save() {
        return leave(false);
    }

    @JavascriptInterface
    public synchronized boolean share() {
        return leave(true);
    }

    private boolean leave(final boolean shared) {
        if (stream == null || !close()) {
            return failed();
        }
        final File whole = file;
        final String kind = type;
        activity.runOnUiThread(
                new Runnable() {
                    @Override
                    public void run() {
                        if (shared) {
                            activity.share(whole, kind);
                        } else {
                            activity.save(whole, kind);
                        }
                    }
                });
        return true;
    }

    /** To where the person said, apart from the thread that draws. `source`: null if nobody knows it any longer. */
    void copy(final File source, final Uri target) {
        new Thread(
                        new Runnable() {
                            @Override
                            public void run() {
                                final String said = copied(source, target);
                                activity.runOnUiThread(
                                        new Runnable() {
                                            @Override
                                            public void run() {
                                                activity.say(said);
                                            }
                                        });
                            }
                        })
                .start();
    }

    private String copied(File source, Uri target) {
        if (source == null || !source.isFile()) {
            return "Not saved: the result is gone, because the app was closed in between. Make it again."
                    + discarded(target);
        }
        try (InputStream in = new FileInputStream(source);
                OutputStream out = activity.getContentResolver().openOutputStream(target, "wt")) {
            byte[] buffer = new byte[BUFFER];
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                out.write(buffer, 0, count);
            }
            return "Saved.";
        } catch (IOException | SecurityException | NullPointerException error) {
            return "Not saved: " + error.getMessage() + "." + discarded(target);
        }
    }

    /** The dialog has made an empty document, and half a file is of no use either. */
    private String discarded(Uri target) {
        try {
            if (DocumentsContract.deleteDocument(activity.getContentResolver(), target)) {
                return "";
            }
        } catch (Exception error) { // a place that cannot delete says so in many ways
        }
        return " A file that is not whole is left there: delete it.";
    }

    private boolean close() {
        try {
            if (stream != null) {
                stream.close();
            }
            stream = null;
            return true;
        } catch (IOException error) {
            stream = null;
            return false;
        }
    }

    /** A half file is of no use: it goes. */
    private boolean failed() {
        close();
        if (file != null) {
            file.delete();
        }
        file = null;
        return false;
    }
}
