package org.edgesr.photos

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.MotionEvent
import android.view.View
import kotlin.math.min

/** Before and after with a divider that follows the finger. */
class Comparison(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val exact = Paint().apply { isFilterBitmap = false }
    private val line = Paint().apply {
        color = Color.WHITE
        strokeWidth = 2 * resources.displayMetrics.density
    }
    private var before: Bitmap? = null
    private var after: Bitmap? = null
    private var share = 0.5f

    fun show(before: Bitmap, after: Bitmap?) {
        this.before = before
        this.after = after
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val first = before ?: return
        val zoom = min(width / first.width.toFloat(), height / first.height.toFloat())
        val place = RectF(0f, 0f, first.width * zoom, first.height * zoom)
        place.offset((width - place.width()) / 2, (height - place.height()) / 2)
        canvas.drawBitmap(first, null, place, exact)
        val second = after ?: return
        val border = place.left + place.width() * share
        canvas.save()
        canvas.clipRect(border, 0f, width.toFloat(), height.toFloat())
        canvas.drawBitmap(second, null, place, exact)
        canvas.restore()
        canvas.drawLine(border, place.top, border, place.bottom, line)
    }

    @SuppressLint("ClickableViewAccessibility")
    override fun onTouchEvent(event: MotionEvent): Boolean {
        parent.requestDisallowInterceptTouchEvent(true)
        share = (event.x / width).coerceIn(0f, 1f)
        invalidate()
        return true
    }
}
