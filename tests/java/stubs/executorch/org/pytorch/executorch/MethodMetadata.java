package org.pytorch.executorch;

public abstract class MethodMetadata {
    public abstract String getName();

    public abstract String[] getBackends();
}
