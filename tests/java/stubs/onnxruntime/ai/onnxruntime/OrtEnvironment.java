package ai.onnxruntime;

public abstract class OrtEnvironment {
    public static OrtEnvironment getEnvironment() {
        throw new UnsupportedOperationException();
    }

    public abstract String getVersion();

    public abstract OrtSession createSession(byte[] model, OrtSession.SessionOptions options) throws OrtException;
}
