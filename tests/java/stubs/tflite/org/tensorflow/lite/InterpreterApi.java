package org.tensorflow.lite;

public interface InterpreterApi extends AutoCloseable {
    /** Some versions of Interpreter.Options have this setter of their own and some have not. */
    class Options {
        public Options setUseXNNPACK(boolean useXnnpack) {
            return this;
        }
    }

    @Override
    void close();
}
