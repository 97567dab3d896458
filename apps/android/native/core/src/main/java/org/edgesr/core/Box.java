package org.edgesr.core;

/** Where a tile's input starts in the padded image, and the core (end exclusive) that it answers for. */
public final class Box {
    public final int top;
    public final int left;
    public final int coreTop;
    public final int coreLeft;
    public final int coreBottom;
    public final int coreRight;

    Box(SideRule.Span row, SideRule.Span column) {
        top = row.start;
        left = column.start;
        coreTop = row.coreStart;
        coreLeft = column.coreStart;
        coreBottom = row.coreEnd;
        coreRight = column.coreEnd;
    }
}
