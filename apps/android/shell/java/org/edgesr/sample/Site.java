package org.edgesr.sample;

import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.webkit.RenderProcessGoneDetail;
import android.webkit.WebResourceRequest;
import android.webkit.WebResourceResponse;
import android.webkit.WebView;
import android.webkit.WebViewClient;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Map;

/** Answers every request of the page from assets/www; whatever is not there is refused. */
final class Site extends WebViewClient {
    static final String START = "https://" + Paths.HOST + "/index.html";

    private final MainActivity activity;

    Site(MainActivity activity) {
        this.activity = activity;
    }

    @Override
    public WebResourceResponse shouldInterceptRequest(WebView view, WebResourceRequest request) {
        Uri address = request.getUrl();
        if ("blob".equals(address.getScheme()) || "data".equals(address.getScheme())) {
            return null;
        }
        String path = Paths.inAssets(address.getScheme(), address.getHost(), address.getPath());
        if (path == null || !"GET".equals(request.getMethod())) {
            return answer(403, "Forbidden", "text/plain", new ByteArrayInputStream(new byte[0]));
        }
        try {
            return answer(200, "OK", Paths.type(path), activity.getAssets().open(path));
        } catch (IOException missing) {
            return answer(404, "Not Found", "text/plain", new ByteArrayInputStream(new byte[0]));
        }
    }

    private static WebResourceResponse answer(int status, String words, String type, InputStream content) {
        Map<String, String> headers = new HashMap<>();
        headers.put("Cross-Origin-Opener-Policy", "same-origin");
        headers.put("Cross-Origin-Embedder-Policy", "require-corp");
        headers.put("Cross-Origin-Resource-Policy", "same-origin");
        headers.put("X-Content-Type-Options", "nosniff");
        headers.put("Cache-Control", "no-store");
        String encoding = Paths.isText(type) ? "utf-8" : null;
        return new WebResourceResponse(type, encoding, status, words, headers, content);
    }

    /** Links that lead away are shown by the browser, not here. */
    @Override
    @SuppressWarnings("deprecation")
    public boolean shouldOverrideUrlLoading(WebView view, String address) {
        Uri wanted = Uri.parse(address);
        if (Paths.HOST.equals(wanted.getHost())) {
            return false;
        }
        try {
            if ("https".equals(wanted.getScheme())) {
                activity.startActivity(new Intent(Intent.ACTION_VIEW, wanted));
            }
        } catch (ActivityNotFoundException error) {
            activity.say("This device has no app for that.");
        }
        return true;
    }

    /** Without this the whole app would end with the page's process. */
    @Override
    public boolean onRenderProcessGone(WebView view, RenderProcessGoneDetail detail) {
        activity.restart();
        return true;
    }
}
