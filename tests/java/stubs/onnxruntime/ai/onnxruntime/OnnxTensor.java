package ai.onnxruntime;

import java.nio.FloatBuffer;

public abstract class OnnxTensor extends OnnxTensorLike {
    public static OnnxTensor createTensor(OrtEnvironment environment, FloatBuffer data, long[] shape)
            throws OrtException {
        throw new UnsupportedOperationException();
    }

    public abstract FloatBuffer getFloatBuffer();
}
