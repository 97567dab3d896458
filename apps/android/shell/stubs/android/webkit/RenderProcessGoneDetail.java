package android.webkit;

/** Android has it from API 26 on; Debian's android.jar is of API 23. For compiling only. */
public abstract class RenderProcessGoneDetail {}
