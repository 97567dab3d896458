package ai.onnxruntime;

public abstract class TensorInfo {
    public abstract long[] getShape();
}
