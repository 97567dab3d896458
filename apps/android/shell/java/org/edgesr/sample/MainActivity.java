package org.edgesr.sample;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.provider.MediaStore;
import android.view.KeyEvent;
import android.webkit.ValueCallback;
import android.webkit.WebChromeClient;
import android.webkit.WebSettings;
import android.webkit.WebView;
import android.widget.Toast;
import java.io.File;

/** The window: one WebView that shows the page in assets/www. It has no right to use the network. */
public final class MainActivity extends Activity {
    private static final int CHOOSE = 1;
    private static final int SAVE = 2;
    private static final String LEAVING = "leaving";

    private WebView page;
    private Outbox outbox;
    private ValueCallback<Uri[]> waiting;
    private Uri picture;
    private File leaving;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        outbox = new Outbox(this);
        if (state != null && state.getString(LEAVING) != null) {
            leaving = new File(Files.folder(this), state.getString(LEAVING));
        }
        page = new WebView(this);
        WebSettings settings = page.getSettings();
        settings.setJavaScriptEnabled(true);
        settings.setDomStorageEnabled(true);
        settings.setAllowFileAccess(false);
        settings.setGeolocationEnabled(false);
        settings.setSupportMultipleWindows(false);
        page.setWebViewClient(new Site(this));
        page.setWebChromeClient(new Chooser());
        page.addJavascriptInterface(outbox, "edgesrShell");
        setContentView(page);
        page.loadUrl(Site.START);
    }

    /** Android may end the app while the dialog for saving is open. */
    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        if (leaving != null) {
            state.putString(LEAVING, leaving.getName());
        }
    }

    /** The page's process ended, which is how Android takes memory back. */
    void restart() {
        say("Too little memory: the page was started again.");
        recreate();
    }

    void save(File file, String type) {
        leaving = file;
        Intent intent = new Intent(Intent.ACTION_CREATE_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType(type);
        intent.putExtra(Intent.EXTRA_TITLE, file.getName());
        start(intent, SAVE);
    }

    void share(File file, String type) {
        Intent intent = new Intent(Intent.ACTION_SEND);
        intent.setType(type);
        intent.putExtra(Intent.EXTRA_STREAM, Files.address(file));
        intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        start(Intent.createChooser(intent, null), 0);
    }

    void say(String text) {
        Toast.makeText(this, text, Toast.LENGTH_LONG).show();
    }

    private boolean start(Intent intent, int request) {
        try {
            startActivityForResult(intent, request);
            return true;
        } catch (ActivityNotFoundException error) {
            say("This device has no app for that.");
            return false;
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request == CHOOSE && waiting != null) {
            waiting.onReceiveValue(result == RESULT_OK ? found(result, data) : null);
            waiting = null;
            picture = null;
        } else if (request == SAVE) {
            if (result == RESULT_OK && data != null && data.getData() != null) {
                outbox.copy(leaving, data.getData());
            }
            leaving = null;
        }
    }

    private Uri[] found(int result, Intent data) {
        if (picture != null) {
            return new Uri[] {picture};
        }
        return WebChromeClient.FileChooserParams.parseResult(result, data);
    }

    @Override
    public boolean onKeyDown(int code, KeyEvent event) {
        if (code == KeyEvent.KEYCODE_BACK && page.canGoBack()) {
            page.goBack();
            return true;
        }
        return super.onKeyDown(code, event);
    }

    @Override
    protected void onDestroy() {
        page.destroy();
        super.onDestroy();
    }

    /** Answers the page's file inputs: the system's picker, or the camera app. */
    private final class Chooser extends WebChromeClient {
        @Override
        public boolean onShowFileChooser(WebView view, ValueCallback<Uri[]> callback, FileChooserParams wanted) {
            if (waiting != null) {
                waiting.onReceiveValue(null);
            }
            waiting = callback;
            Intent intent;
            if (wanted.isCaptureEnabled()) {
                picture = Files.address(outbox.fresh(Paths.PICTURE));
                intent = new Intent(MediaStore.ACTION_IMAGE_CAPTURE);
                intent.putExtra(MediaStore.EXTRA_OUTPUT, picture);
                intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION | Intent.FLAG_GRANT_READ_URI_PERMISSION);
            } else {
                picture = null;
                intent = wanted.createIntent();
            }
            if (start(intent, CHOOSE)) {
                return true;
            }
            waiting.onReceiveValue(null);
            waiting = null;
            return true;
        }
    }
}
