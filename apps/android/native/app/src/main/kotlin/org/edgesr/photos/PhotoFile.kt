package org.edgesr.photos

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import androidx.exifinterface.media.ExifInterface
import java.io.File
import java.io.IOException
import org.edgesr.core.AppException
import org.edgesr.core.Photo

/** Decoded in 8 bits sRGB, upright, not multiplied by alpha. Throws AppException. */
fun readPhoto(resolver: ContentResolver, address: Uri, mostPixels: Long): Photo {
    val bitmap =
        try {
            ImageDecoder.decodeBitmap(ImageDecoder.createSource(resolver, address)) { decoder, info, _ ->
                val pixels = info.size.width.toLong() * info.size.height
                if (pixels > mostPixels) throw TooLarge(pixels)
                decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
                decoder.isUnpremultipliedRequired = true
                decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
            }
        } catch (error: TooLarge) {
            val text = "The photo has %.1f megapixels; %.1f fit this device. Choose a smaller one."
            throw AppException(AppException.Kind.MEMORY, text.format(error.pixels / 1e6, mostPixels / 1e6))
        } catch (error: IOException) {
            throw AppException(AppException.Kind.PHOTO, "This is no photo, or a damaged one. Choose another.")
        }
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return Photo(bitmap.width, bitmap.height, argb)
}

private class TooLarge(val pixels: Long) : RuntimeException()

fun bitmapOf(photo: Photo): Bitmap =
    Bitmap.createBitmap(photo.width, photo.height, Bitmap.Config.ARGB_8888).apply {
        setPixels(photo.argb, 0, photo.width, 0, 0, photo.width, photo.height)
    }

private val KEPT =
    listOf(
        ExifInterface.TAG_DATETIME, ExifInterface.TAG_DATETIME_ORIGINAL, ExifInterface.TAG_OFFSET_TIME_ORIGINAL,
        ExifInterface.TAG_MAKE, ExifInterface.TAG_MODEL, ExifInterface.TAG_ARTIST, ExifInterface.TAG_COPYRIGHT,
        ExifInterface.TAG_EXPOSURE_TIME, ExifInterface.TAG_F_NUMBER, ExifInterface.TAG_FOCAL_LENGTH,
        ExifInterface.TAG_PHOTOGRAPHIC_SENSITIVITY, ExifInterface.TAG_LENS_MODEL, ExifInterface.TAG_GPS_LATITUDE,
        ExifInterface.TAG_GPS_LATITUDE_REF, ExifInterface.TAG_GPS_LONGITUDE, ExifInterface.TAG_GPS_LONGITUDE_REF,
        ExifInterface.TAG_GPS_ALTITUDE, ExifInterface.TAG_GPS_ALTITUDE_REF,
    )

/** A PNG that says what made it, with the EXIF of `source` unless that is null. */
fun writePng(photo: Photo, file: File, resolver: ContentResolver, source: Uri?, comment: String) {
    val bitmap = bitmapOf(photo)
    file.outputStream().use { stream ->
        if (!bitmap.compress(Bitmap.CompressFormat.PNG, 100, stream)) throw IOException("the PNG was not written")
    }
    val exif = ExifInterface(file)
    exif.setAttribute(ExifInterface.TAG_SOFTWARE, "edgesr: $comment")
    exif.setAttribute(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL.toString())
    source?.let { address ->
        resolver.openInputStream(address)?.use { stream ->
            val old = ExifInterface(stream)
            for (tag in KEPT) old.getAttribute(tag)?.let { exif.setAttribute(tag, it) }
        }
    }
    exif.saveAttributes()
}
