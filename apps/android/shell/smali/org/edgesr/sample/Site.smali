.class final Lorg/edgesr/sample/Site;
.super Landroid/webkit/WebViewClient;


# static fields
.field static final START:Ljava/lang/String; = "https://appassets.androidplatform.net/index.html"


# instance fields
.field private final activity:Lorg/edgesr/sample/MainActivity;


# direct methods
.method constructor <init>(Lorg/edgesr/sample/MainActivity;)V
    .registers 2

    invoke-direct {p0}, Landroid/webkit/WebViewClient;-><init>()V

    iput-object p1, p0, Lorg/edgesr/sample/Site;->activity:Lorg/edgesr/sample/MainActivity;

    return-void
.end method

.method private static answer(ILjava/lang/String;Ljava/lang/String;Ljava/io/InputStream;)Landroid/webkit/WebResourceResponse;
    .registers 11

    new-instance v5, Ljava/util/HashMap;

    invoke-direct {v5}, Ljava/util/HashMap;-><init>()V

    const-string v0, "Cross-Origin-Opener-Policy"

    const-string v1, "same-origin"

    invoke-interface {v5, v0, v1}, Ljava/util/Map;->put(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;

    const-string v0, "Cross-Origin-Embedder-Policy"

    const-string v1, "require-corp"

    invoke-interface {v5, v0, v1}, Ljava/util/Map;->put(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;

    const-string v0, "Cross-Origin-Resource-Policy"

    const-string v1, "same-origin"

    invoke-interface {v5, v0, v1}, Ljava/util/Map;->put(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;

    const-string v0, "X-Content-Type-Options"

    const-string v1, "nosniff"

    invoke-interface {v5, v0, v1}, Ljava/util/Map;->put(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;

    const-string v0, "Cache-Control"

    const-string v1, "no-store"

    invoke-interface {v5, v0, v1}, Ljava/util/Map;->put(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;

    invoke-static {p2}, Lorg/edgesr/sample/Paths;->isText(Ljava/lang/String;)Z

    move-result v0

    if-eqz v0, :cond_3a

    const-string v2, "utf-8"

    :goto_30
    new-instance v0, Landroid/webkit/WebResourceResponse;

    move-object v1, p2

    move v3, p0

    move-object v4, p1

    move-object v6, p3

    invoke-direct/range {v0 .. v6}, Landroid/webkit/WebResourceResponse;-><init>(Ljava/lang/String;Ljava/lang/String;ILjava/lang/String;Ljava/util/Map;Ljava/io/InputStream;)V

    return-object v0

    :cond_3a
    const/4 v2, 0x0

    goto :goto_30
.end method


# virtual methods
.method public onRenderProcessGone(Landroid/webkit/WebView;Landroid/webkit/RenderProcessGoneDetail;)Z
    .registers 4

    iget-object v0, p0, Lorg/edgesr/sample/Site;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-virtual {v0}, Lorg/edgesr/sample/MainActivity;->restart()V

    const/4 v0, 0x1

    return v0
.end method

.method public shouldInterceptRequest(Landroid/webkit/WebView;Landroid/webkit/WebResourceRequest;)Landroid/webkit/WebResourceResponse;
    .registers 9

    const/4 v5, 0x0

    invoke-interface {p2}, Landroid/webkit/WebResourceRequest;->getUrl()Landroid/net/Uri;

    move-result-object v0

    const-string v1, "blob"

    invoke-virtual {v0}, Landroid/net/Uri;->getScheme()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-nez v1, :cond_1d

    const-string v1, "data"

    invoke-virtual {v0}, Landroid/net/Uri;->getScheme()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1f

    :cond_1d
    const/4 v0, 0x0

    :goto_1e
    return-object v0

    :cond_1f
    invoke-virtual {v0}, Landroid/net/Uri;->getScheme()Ljava/lang/String;

    move-result-object v1

    invoke-virtual {v0}, Landroid/net/Uri;->getHost()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v0}, Landroid/net/Uri;->getPath()Ljava/lang/String;

    move-result-object v0

    invoke-static {v1, v2, v0}, Lorg/edgesr/sample/Paths;->inAssets(Ljava/lang/String;Ljava/lang/String;Ljava/lang/String;)Ljava/lang/String;

    move-result-object v0

    if-eqz v0, :cond_3d

    const-string v1, "GET"

    invoke-interface {p2}, Landroid/webkit/WebResourceRequest;->getMethod()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-nez v1, :cond_4f

    :cond_3d
    const/16 v0, 0x193

    const-string v1, "Forbidden"

    const-string v2, "text/plain"

    new-instance v3, Ljava/io/ByteArrayInputStream;

    new-array v4, v5, [B

    invoke-direct {v3, v4}, Ljava/io/ByteArrayInputStream;-><init>([B)V

    invoke-static {v0, v1, v2, v3}, Lorg/edgesr/sample/Site;->answer(ILjava/lang/String;Ljava/lang/String;Ljava/io/InputStream;)Landroid/webkit/WebResourceResponse;

    move-result-object v0

    goto :goto_1e

    :cond_4f
    const/16 v1, 0xc8

    :try_start_51
    const-string v2, "OK"

    invoke-static {v0}, Lorg/edgesr/sample/Paths;->type(Ljava/lang/String;)Ljava/lang/String;

    move-result-object v3

    iget-object v4, p0, Lorg/edgesr/sample/Site;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-virtual {v4}, Lorg/edgesr/sample/MainActivity;->getAssets()Landroid/content/res/AssetManager;

    move-result-object v4

    invoke-virtual {v4, v0}, Landroid/content/res/AssetManager;->open(Ljava/lang/String;)Ljava/io/InputStream;

    move-result-object v0

    invoke-static {v1, v2, v3, v0}, Lorg/edgesr/sample/Site;->answer(ILjava/lang/String;Ljava/lang/String;Ljava/io/InputStream;)Landroid/webkit/WebResourceResponse;
    :try_end_64
    .catch Ljava/io/IOException; {:try_start_51 .. :try_end_64} :catch_66

    move-result-object v0

    goto :goto_1e

    :catch_66
    move-exception v0

    const/16 v0, 0x194

    const-string v1, "Not Found"

    const-string v2, "text/plain"

    new-instance v3, Ljava/io/ByteArrayInputStream;

    new-array v4, v5, [B

    invoke-direct {v3, v4}, Ljava/io/ByteArrayInputStream;-><init>([B)V

    invoke-static {v0, v1, v2, v3}, Lorg/edgesr/sample/Site;->answer(ILjava/lang/String;Ljava/lang/String;Ljava/io/InputStream;)Landroid/webkit/WebResourceResponse;

    move-result-object v0

    goto :goto_1e
.end method

.method public shouldOverrideUrlLoading(Landroid/webkit/WebView;Ljava/lang/String;)Z
    .registers 7

    invoke-static {p2}, Landroid/net/Uri;->parse(Ljava/lang/String;)Landroid/net/Uri;

    move-result-object v0

    const-string v1, "appassets.androidplatform.net"

    invoke-virtual {v0}, Landroid/net/Uri;->getHost()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_12

    const/4 v0, 0x0

    :goto_11
    return v0

    :cond_12
    :try_start_12
    const-string v1, "https"

    invoke-virtual {v0}, Landroid/net/Uri;->getScheme()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_2a

    iget-object v1, p0, Lorg/edgesr/sample/Site;->activity:Lorg/edgesr/sample/MainActivity;

    new-instance v2, Landroid/content/Intent;

    const-string v3, "android.intent.action.VIEW"

    invoke-direct {v2, v3, v0}, Landroid/content/Intent;-><init>(Ljava/lang/String;Landroid/net/Uri;)V

    invoke-virtual {v1, v2}, Lorg/edgesr/sample/MainActivity;->startActivity(Landroid/content/Intent;)V
    :try_end_2a
    .catch Landroid/content/ActivityNotFoundException; {:try_start_12 .. :try_end_2a} :catch_2c

    :cond_2a
    :goto_2a
    const/4 v0, 0x1

    goto :goto_11

    :catch_2c
    move-exception v0

    iget-object v0, p0, Lorg/edgesr/sample/Site;->activity:Lorg/edgesr/sample/MainActivity;

    const-string v1, "This device has no app for that."

    invoke-virtual {v0, v1}, Lorg/edgesr/sample/MainActivity;->say(Ljava/lang/String;)V

    goto :goto_2a
.end method
