package org.edgesr.sample;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/** Shows the one file that is on its way out (or the camera's picture on its way in) to the app it was meant for. */
public final class Files extends ContentProvider {
    static final String AUTHORITY = "org.edgesr.sample.files";

    static File folder(Context context) {
        return new File(context.getCacheDir(), "out");
    }

    static Uri address(File file) {
        return new Uri.Builder().scheme("content").authority(AUTHORITY).appendPath(file.getName()).build();
    }

    private File file(Uri address) {
        String name = address.getLastPathSegment();
        return new File(folder(getContext()), Paths.plainName(name == null ? "" : name));
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri address, String mode) throws FileNotFoundException {
        return ParcelFileDescriptor.open(file(address), ParcelFileDescriptor.parseMode(mode));
    }

    @Override
    public Cursor query(Uri address, String[] wanted, String where, String[] values, String order) {
        String[] columns = wanted == null ? new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE} : wanted;
        File file = file(address);
        Object[] row = new Object[columns.length];
        for (int index = 0; index < columns.length; index++) {
            if (columns[index].equals(OpenableColumns.DISPLAY_NAME)) {
                row[index] = file.getName();
            } else if (columns[index].equals(OpenableColumns.SIZE)) {
                row[index] = file.length();
            }
        }
        MatrixCursor cursor = new MatrixCursor(columns, 1);
        cursor.addRow(row);
        return cursor;
    }

    @Override
    public String getType(Uri address) {
        String name = file(address).getName();
        if (name.endsWith(".png")) {
            return "image/png";
        }
        if (name.endsWith(".jpg")) {
            return "image/jpeg";
        }
        return name.endsWith(".webp") ? "image/webp" : "application/octet-stream";
    }

    @Override
    public Uri insert(Uri address, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri address, String where, String[] values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri address, ContentValues values, String where, String[] more) {
        throw new UnsupportedOperationException();
    }
}
