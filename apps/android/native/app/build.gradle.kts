plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.edgesr.photos"
    compileSdk = 35
    defaultConfig {
        applicationId = "org.edgesr.photos"
        minSdk = 28
        targetSdk = 34
        versionCode = 1
        versionName = "@VERSION@"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions { jvmTarget = "11" }
}

dependencies {
    implementation(project(":core"))
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.22.0")
    implementation("com.google.ai.edge.litert:litert:1.4.2")
    implementation("org.pytorch:executorch-android:1.4.1")
    implementation("androidx.exifinterface:exifinterface:1.3.7")
}
