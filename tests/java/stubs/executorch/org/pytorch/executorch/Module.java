package org.pytorch.executorch;

import java.io.Closeable;

/** As in 1.4.1, where this is Kotlin: Module.kt. */
public abstract class Module implements Closeable {
    public static final int LOAD_MODE_FILE = 0;

    public static Module load(String modelPath, int loadMode, int numThreads) {
        throw new UnsupportedOperationException();
    }

    public abstract EValue[] forward(EValue... inputs);

    /** Until 1.2 it returned a number. */
    public abstract void loadMethod(String methodName);

    public abstract MethodMetadata getMethodMetadata(String name);

    public abstract void destroy();
}
