package org.edgesr.photos

import android.app.Activity
import android.app.ActivityManager
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.DocumentsContract
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.CheckBox
import android.widget.ProgressBar
import android.widget.Spinner
import android.widget.TextView
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.time.Instant
import java.util.concurrent.Executors
import java.util.concurrent.Future
import java.util.concurrent.atomic.AtomicBoolean
import org.edgesr.core.AppException
import org.edgesr.core.Photo
import org.edgesr.core.Records
import org.edgesr.core.TilePlan
import org.edgesr.core.Upscaling
import org.json.JSONObject

private const val CHOOSE = 1
private const val SAVE = 2
private const val READY = "ready"
private const val MEMORY_MB = 300.0
private const val REPEATS = 3
private const val RUNS = 20
private const val PIECES = 8

/** The only screen. Everything long runs on one thread of its own and can be stopped. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val stopped = AtomicBoolean()
    private val threads = Runtime.getRuntime().availableProcessors().coerceIn(1, 8)
    private var artifacts: List<Artifact> = emptyList()
    private var chosen: Uri? = null
    private var photo: Photo? = null
    private var ready: File? = null
    private var task: Future<*>? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        try {
            artifacts = Artifact.all(assets)
        } catch (error: AppException) {
            say(error.message.orEmpty())
        }
        val names = artifacts.map(::label)
        spinner(R.id.model).adapter = ArrayAdapter(this, android.R.layout.simple_spinner_dropdown_item, names)
        spinner(R.id.model).onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) = showEngines()

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
        button(R.id.choose).setOnClickListener { choose() }
        button(R.id.run).setOnClickListener { if (isBusy()) stopped.set(true) else enlarge() }
        button(R.id.save).setOnClickListener { save() }
        button(R.id.bench).setOnClickListener { benchmark() }
        val notice = runCatching { assets.open("NOTICE.txt").use { it.readBytes().decodeToString() } }
        find<TextView>(R.id.about).text = notice.getOrDefault("")
        state?.getString(READY)?.let { name -> File(cacheDir, name).takeIf { it.isFile }?.let(::offer) }
    }

    /** Android may end the app while the dialog for saving is open. */
    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putString(READY, ready?.name)
    }

    override fun onDestroy() {
        stopped.set(true)
        worker.shutdown()
        super.onDestroy()
    }

    /** One network may be here in one precision for several runtimes. */
    private fun label(artifact: Artifact): String =
        with(artifact.manifest) { "$model ×$scale $precision, ${titleOf(artifact)}" }

    private fun showEngines() {
        val artifact = chosenArtifact() ?: return
        val engines =
            try {
                runtimeOf(artifact).engines
            } catch (error: AppException) {
                say(error.message.orEmpty())
                emptyList()
            }
        spinner(R.id.engine).adapter = ArrayAdapter(this, android.R.layout.simple_spinner_dropdown_item, engines)
    }

    private fun chosenArtifact(): Artifact? = artifacts.getOrNull(spinner(R.id.model).selectedItemPosition)

    private fun chosenEngine(): String? = spinner(R.id.engine).selectedItem as? String

    private fun choose() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        start(intent, CHOOSE)
    }

    private fun save() {
        val file = ready ?: return
        val type = if (file.extension == "png") "image/png" else "application/x-ndjson"
        val intent = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType(type)
        start(intent.putExtra(Intent.EXTRA_TITLE, file.name), SAVE)
    }

    private fun start(intent: Intent, request: Int) {
        try {
            @Suppress("DEPRECATION") startActivityForResult(intent, request)
        } catch (error: ActivityNotFoundException) {
            say("This device has no app for that.")
        }
    }

    @Deprecated("Deprecated in Java")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val address = data?.data
        if (result != RESULT_OK || address == null) return
        if (request == CHOOSE) take(address) else work("Saving …") { copy(address) }
    }

    private fun take(address: Uri) = work("Reading the photo …") {
        val read = readPhoto(contentResolver, address, mostPixels())
        val bitmap = bitmapOf(read)
        runOnUiThread {
            chosen = address
            photo = read
            find<Comparison>(R.id.comparison).show(bitmap, null)
            button(R.id.save).visibility = View.GONE
        }
        "${read.width}×${read.height}"
    }

    private fun copy(address: Uri): String {
        val file = ready?.takeIf { it.isFile }
            ?: return "Not saved: the result is gone. Make it again.${discarded(address)}"
        return try {
            val target = contentResolver.openOutputStream(address, "wt") ?: throw IOException("the place cannot be opened")
            target.use { out -> file.inputStream().use { it.copyTo(out) } }
            "Saved."
        } catch (error: Exception) { // whatever app keeps the document may fail in ways of its own
            "Not saved: ${error.message}.${discarded(address)}"
        }
    }

    /** The dialog has made an empty document, and half a file is of no use either. */
    private fun discarded(address: Uri): String {
        val isGone = runCatching { DocumentsContract.deleteDocument(contentResolver, address) }.getOrDefault(false)
        return if (isGone) "" else " A file that is not whole is left there: delete it."
    }

    private fun enlarge() {
        val source = photo ?: return
        val artifact = chosenArtifact() ?: return
        val engine = chosenEngine() ?: return
        val exifOf = if (find<CheckBox>(R.id.keep).isChecked) chosen else null
        work("Loading the engine …") {
            val plan = TilePlan.of(source.height, source.width, artifact.manifest, MEMORY_MB)
            runtimeOf(artifact).open(artifact, plan.tile, engine, threads, cacheDir).use { model ->
                val times = mutableListOf<Long>()
                val began = System.nanoTime()
                val large = Upscaling.run(source, plan, model) { done, all, took ->
                    times += took
                    runOnUiThread { progress(done, all) }
                    !stopped.get()
                } ?: return@work "Stopped."
                val seconds = (System.nanoTime() - began) / 1e9
                val file = File(cacheDir, "photo_x${plan.scale}.png")
                val unfinished = File(cacheDir, "unfinished.png")
                val words = "${artifact.manifest.slug}, sha256 ${artifact.identity}, ${model.runtime}, ${model.backend}"
                writePng(large, unfinished, contentResolver, exifOf, words)
                if (!unfinished.renameTo(file)) throw IOException("the result cannot be kept")
                val (before, after) = bitmapOf(source) to bitmapOf(large)
                runOnUiThread { show(before, after, file) }
                val tile = times.sorted()[times.size / 2] / 1e6
                "%d×%d in %.1f s, %d tiles, %.0f ms each (median)\n%s; %s; %d threads".format(
                    large.width, large.height, seconds, times.size, tile, model.runtime, model.backend, threads)
            }
        }
    }

    private fun show(before: android.graphics.Bitmap, after: android.graphics.Bitmap, file: File) {
        find<Comparison>(R.id.comparison).show(before, after)
        offer(file)
    }

    private fun offer(file: File) {
        ready = file
        button(R.id.save).text = if (file.extension == "png") "Save" else "Export JSONL"
        button(R.id.save).visibility = View.VISIBLE
    }

    /** Cold starts on pieces of the photo; the records of `edgesr bench`. */
    private fun benchmark() {
        val source = photo ?: return
        val artifact = chosenArtifact() ?: return
        val engine = chosenEngine() ?: return
        work("Timing …") {
            val plan = TilePlan.of(source.height, source.width, artifact.manifest, MEMORY_MB / 10)
            val pieces = plan.boxes.take(PIECES).map { Upscaling.input(source, plan, it, false) }
            val bytes = ByteBuffer.allocate(4 * pieces.sumOf { it.size })
            pieces.forEach { piece -> piece.forEach { bytes.putFloat(it) } }
            val facts = mapOf("android" to Build.VERSION.RELEASE, "soc" to Build.HARDWARE)
            val records = Records(
                artifact.manifest, artifact.identity, plan.tile, Instant.now().toString(), BUILT_WITH, threads,
                "${Build.MANUFACTURER} ${Build.MODEL}", facts, pieces.size, sha256(bytes.array()))
            repeat(REPEATS) { number ->
                if (stopped.get()) return@work "Stopped."
                runOnUiThread { progress(number, REPEATS) }
                timed(artifact, engine, plan, pieces, records)
            }
            val file = File(cacheDir, "${artifact.manifest.slug}.jsonl")
            file.writeText(records.ended().joinToString("") { "${JSONObject(it)}\n" })
            runOnUiThread { offer(file) }
            "Timed $REPEATS starts of $RUNS runs."
        }
    }

    private fun timed(artifact: Artifact, engine: String, plan: TilePlan, pieces: List<FloatArray>, records: Records) {
        val start = System.nanoTime()
        runtimeOf(artifact).open(artifact, plan.tile, engine, threads, cacheDir).use { model ->
            val opened = System.nanoTime()
            model.predict(pieces[0], plan.tile)
            val first = System.nanoTime()
            model.predict(pieces[0], plan.tile)
            val begin = System.nanoTime()
            val raw = List(RUNS) { index ->
                val before = System.nanoTime()
                model.predict(pieces[index % pieces.size], plan.tile)
                System.nanoTime() - before
            }
            val ran = mapOf(
                "runtime" to model.runtime, "precision" to artifact.manifest.precision, "backend" to model.backend,
                "threads" to threads.toString())
            val seconds = (System.nanoTime() - begin) / 1e9
            records.add(opened - start, first - opened, listOf(begin - first), raw, seconds, ran)
        }
    }

    /** `job` on the thread for long work; what it returns is shown. */
    private fun work(words: String, job: () -> String) {
        if (isBusy()) return
        stopped.set(false)
        say(words)
        busy(true)
        task = worker.submit {
            var said = "The work ended without a result. Try again."
            try {
                said = job()
            } catch (error: AppException) {
                said = error.message.orEmpty()
            } catch (error: IOException) {
                said = "Not possible: ${error.message}"
            } catch (error: SecurityException) {
                said = "Not allowed: ${error.message}"
            } catch (error: LinkageError) {
                said = "The runtime does not load on this device: ${error.message}. Choose another model."
            } catch (error: OutOfMemoryError) {
                said = "There is too little memory for this photo. Choose a smaller one."
            } catch (error: Exception) {
                said = "The work failed: $error. Choose another model or photo."
            } finally {
                runOnUiThread {
                    task = null
                    say(said)
                    busy(false)
                }
            }
        }
    }

    private fun isBusy() = task != null

    private fun busy(isBusy: Boolean) {
        button(R.id.run).text = if (isBusy) "Cancel" else "Enlarge"
        button(R.id.run).isEnabled = isBusy || photo != null && artifacts.isNotEmpty()
        button(R.id.bench).isEnabled = !isBusy && photo != null && artifacts.isNotEmpty()
        for (id in listOf(R.id.choose, R.id.save)) button(id).isEnabled = !isBusy
        find<ProgressBar>(R.id.progress).visibility = if (isBusy) View.VISIBLE else View.GONE
        progress(0, 1)
    }

    private fun progress(done: Int, all: Int) {
        find<ProgressBar>(R.id.progress).max = all
        find<ProgressBar>(R.id.progress).progress = done
    }

    /** Of a result in 32 bits, with copies, at most a quarter of the memory of an app. */
    private fun mostPixels(): Long {
        val megabytes = (getSystemService(ACTIVITY_SERVICE) as ActivityManager).memoryClass
        val scale = artifacts.maxOfOrNull { it.manifest.scale } ?: 1
        return megabytes * 1_000_000L / 4 / 4 / (scale * scale)
    }

    private fun say(text: String) {
        find<TextView>(R.id.status).text = text
    }

    private fun button(id: Int): Button = find(id)

    private fun spinner(id: Int): Spinner = find(id)

    private fun <T : View> find(id: Int): T = findViewById(id)
}

private const val BUILT_WITH = "@VERSION@"
