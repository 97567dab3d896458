package ai.onnxruntime;

import java.util.Map;
import java.util.Optional;

public abstract class OrtSession {
    public abstract Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException;

    public abstract void close() throws OrtException;

    public abstract static class Result implements AutoCloseable {
        public abstract Optional<OnnxValue> get(String name);

        @Override
        public abstract void close();
    }

    public static class SessionOptions implements AutoCloseable {
        public void setIntraOpNumThreads(int threads) throws OrtException {}

        public void addXnnpack(Map<String, String> options) throws OrtException {}

        public void addNnapi() throws OrtException {}

        @Override
        public void close() {}
    }
}
