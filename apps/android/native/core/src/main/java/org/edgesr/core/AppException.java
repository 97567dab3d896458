package org.edgesr.core;

/** What is told to the person: a sentence that says what happened and what to do. */
public final class AppException extends Exception {
    public enum Kind {
        ARTIFACT,
        PHOTO,
        MEMORY,
        OUTPUT
    }

    private static final long serialVersionUID = 1L;

    public final Kind kind;

    public AppException(Kind kind, String text) {
        super(text);
        this.kind = kind;
    }
}
