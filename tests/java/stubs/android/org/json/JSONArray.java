package org.json;

public abstract class JSONArray {
    public abstract int length();

    public abstract Object get(int index) throws JSONException;
}
