package org.tensorflow.lite;

import java.nio.ByteBuffer;

public final class Interpreter implements InterpreterApi {
    public static class Options extends InterpreterApi.Options {
        public Options setNumThreads(int threads) {
            return this;
        }
    }

    public Interpreter(ByteBuffer model, Options options) {}

    public void run(Object input, Object output) {
        throw new UnsupportedOperationException();
    }

    public Tensor getOutputTensor(int index) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
