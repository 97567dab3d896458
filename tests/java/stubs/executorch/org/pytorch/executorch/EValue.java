package org.pytorch.executorch;

public abstract class EValue {
    public static EValue from(Tensor tensor) {
        throw new UnsupportedOperationException();
    }

    public abstract Tensor toTensor();
}
