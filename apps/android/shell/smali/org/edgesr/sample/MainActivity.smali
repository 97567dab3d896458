.class public final Lorg/edgesr/sample/MainActivity;
.super Landroid/app/Activity;


# annotations
.annotation system Ldalvik/annotation/MemberClasses;
    value = {
        Lorg/edgesr/sample/MainActivity$Chooser;
    }
.end annotation


# static fields
.field private static final CHOOSE:I = 0x1

.field private static final LEAVING:Ljava/lang/String; = "leaving"

.field private static final SAVE:I = 0x2


# instance fields
.field private leaving:Ljava/io/File;

.field private outbox:Lorg/edgesr/sample/Outbox;

.field private page:Landroid/webkit/WebView;

.field private picture:Landroid/net/Uri;

.field private waiting:Landroid/webkit/ValueCallback;
    .annotation system Ldalvik/annotation/Signature;
        value = {
            "Landroid/webkit/ValueCallback",
            "<[",
            "Landroid/net/Uri;",
            ">;"
        }
    .end annotation
.end field


# direct methods
.method public constructor <init>()V
    .registers 1

    invoke-direct {p0}, Landroid/app/Activity;-><init>()V

    return-void
.end method

.method static synthetic access$100(Lorg/edgesr/sample/MainActivity;)Landroid/webkit/ValueCallback;
    .registers 2

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;

    return-object v0
.end method

.method static synthetic access$102(Lorg/edgesr/sample/MainActivity;Landroid/webkit/ValueCallback;)Landroid/webkit/ValueCallback;
    .registers 2

    iput-object p1, p0, Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;

    return-object p1
.end method

.method static synthetic access$200(Lorg/edgesr/sample/MainActivity;)Landroid/net/Uri;
    .registers 2

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;

    return-object v0
.end method

.method static synthetic access$202(Lorg/edgesr/sample/MainActivity;Landroid/net/Uri;)Landroid/net/Uri;
    .registers 2

    iput-object p1, p0, Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;

    return-object p1
.end method

.method static synthetic access$300(Lorg/edgesr/sample/MainActivity;)Lorg/edgesr/sample/Outbox;
    .registers 2

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->outbox:Lorg/edgesr/sample/Outbox;

    return-object v0
.end method

.method static synthetic access$400(Lorg/edgesr/sample/MainActivity;Landroid/content/Intent;I)Z
    .registers 4

    invoke-direct {p0, p1, p2}, Lorg/edgesr/sample/MainActivity;->start(Landroid/content/Intent;I)Z

    move-result v0

    return v0
.end method

.method private found(ILandroid/content/Intent;)[Landroid/net/Uri;
    .registers 6

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;

    if-eqz v0, :cond_d

    const/4 v0, 0x1

    new-array v0, v0, [Landroid/net/Uri;

    const/4 v1, 0x0

    iget-object v2, p0, Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;

    aput-object v2, v0, v1

    :goto_c
    return-object v0

    :cond_d
    invoke-static {p1, p2}, Landroid/webkit/WebChromeClient$FileChooserParams;->parseResult(ILandroid/content/Intent;)[Landroid/net/Uri;

    move-result-object v0

    goto :goto_c
.end method

.method private start(Landroid/content/Intent;I)Z
    .registers 4

    :try_start_0
    invoke-virtual {p0, p1, p2}, Lorg/edgesr/sample/MainActivity;->startActivityForResult(Landroid/content/Intent;I)V
    :try_end_3
    .catch Landroid/content/ActivityNotFoundException; {:try_start_0 .. :try_end_3} :catch_5

    const/4 v0, 0x1

    :goto_4
    return v0

    :catch_5
    move-exception v0

    const-string v0, "This device has no app for that."

    invoke-virtual {p0, v0}, Lorg/edgesr/sample/MainActivity;->say(Ljava/lang/String;)V

    const/4 v0, 0x0

    goto :goto_4
.end method


# virtual methods
.method protected onActivityResult(IILandroid/content/Intent;)V
    .registers 8

    const/4 v3, -0x1

    const/4 v1, 0x0

    const/4 v0, 0x1

    if-ne p1, v0, :cond_1b

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;

    if-eqz v0, :cond_1b

    iget-object v2, p0, Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;

    if-ne p2, v3, :cond_19

    invoke-direct {p0, p2, p3}, Lorg/edgesr/sample/MainActivity;->found(ILandroid/content/Intent;)[Landroid/net/Uri;

    move-result-object v0

    :goto_11
    invoke-interface {v2, v0}, Landroid/webkit/ValueCallback;->onReceiveValue(Ljava/lang/Object;)V

    iput-object v1, p0, Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;

    iput-object v1, p0, Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;

    :cond_18
    :goto_18
    return-void

    :cond_19
    move-object v0, v1

    goto :goto_11

    :cond_1b
    const/4 v0, 0x2

    if-ne p1, v0, :cond_18

    if-ne p2, v3, :cond_33

    if-eqz p3, :cond_33

    invoke-virtual {p3}, Landroid/content/Intent;->getData()Landroid/net/Uri;

    move-result-object v0

    if-eqz v0, :cond_33

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->outbox:Lorg/edgesr/sample/Outbox;

    iget-object v2, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    invoke-virtual {p3}, Landroid/content/Intent;->getData()Landroid/net/Uri;

    move-result-object v3

    invoke-virtual {v0, v2, v3}, Lorg/edgesr/sample/Outbox;->copy(Ljava/io/File;Landroid/net/Uri;)V

    :cond_33
    iput-object v1, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    goto :goto_18
.end method

.method protected onCreate(Landroid/os/Bundle;)V
    .registers 7

    const/4 v4, 0x1

    const/4 v3, 0x0

    invoke-super {p0, p1}, Landroid/app/Activity;->onCreate(Landroid/os/Bundle;)V

    new-instance v0, Lorg/edgesr/sample/Outbox;

    invoke-direct {v0, p0}, Lorg/edgesr/sample/Outbox;-><init>(Lorg/edgesr/sample/MainActivity;)V

    iput-object v0, p0, Lorg/edgesr/sample/MainActivity;->outbox:Lorg/edgesr/sample/Outbox;

    if-eqz p1, :cond_27

    const-string v0, "leaving"

    invoke-virtual {p1, v0}, Landroid/os/Bundle;->getString(Ljava/lang/String;)Ljava/lang/String;

    move-result-object v0

    if-eqz v0, :cond_27

    new-instance v0, Ljava/io/File;

    invoke-static {p0}, Lorg/edgesr/sample/Files;->folder(Landroid/content/Context;)Ljava/io/File;

    move-result-object v1

    const-string v2, "leaving"

    invoke-virtual {p1, v2}, Landroid/os/Bundle;->getString(Ljava/lang/String;)Ljava/lang/String;

    move-result-object v2

    invoke-direct {v0, v1, v2}, Ljava/io/File;-><init>(Ljava/io/File;Ljava/lang/String;)V

    iput-object v0, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    :cond_27
    new-instance v0, Landroid/webkit/WebView;

    invoke-direct {v0, p0}, Landroid/webkit/WebView;-><init>(Landroid/content/Context;)V

    iput-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    invoke-virtual {v0}, Landroid/webkit/WebView;->getSettings()Landroid/webkit/WebSettings;

    move-result-object v0

    invoke-virtual {v0, v4}, Landroid/webkit/WebSettings;->setJavaScriptEnabled(Z)V

    invoke-virtual {v0, v4}, Landroid/webkit/WebSettings;->setDomStorageEnabled(Z)V

    invoke-virtual {v0, v3}, Landroid/webkit/WebSettings;->setAllowFileAccess(Z)V

    invoke-virtual {v0, v3}, Landroid/webkit/WebSettings;->setGeolocationEnabled(Z)V

    invoke-virtual {v0, v3}, Landroid/webkit/WebSettings;->setSupportMultipleWindows(Z)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    new-instance v1, Lorg/edgesr/sample/Site;

    invoke-direct {v1, p0}, Lorg/edgesr/sample/Site;-><init>(Lorg/edgesr/sample/MainActivity;)V

    invoke-virtual {v0, v1}, Landroid/webkit/WebView;->setWebViewClient(Landroid/webkit/WebViewClient;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    new-instance v1, Lorg/edgesr/sample/MainActivity$Chooser;

    const/4 v2, 0x0

    invoke-direct {v1, p0, v2}, Lorg/edgesr/sample/MainActivity$Chooser;-><init>(Lorg/edgesr/sample/MainActivity;Lorg/edgesr/sample/MainActivity$1;)V

    invoke-virtual {v0, v1}, Landroid/webkit/WebView;->setWebChromeClient(Landroid/webkit/WebChromeClient;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    iget-object v1, p0, Lorg/edgesr/sample/MainActivity;->outbox:Lorg/edgesr/sample/Outbox;

    const-string v2, "edgesrShell"

    invoke-virtual {v0, v1, v2}, Landroid/webkit/WebView;->addJavascriptInterface(Ljava/lang/Object;Ljava/lang/String;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    invoke-virtual {p0, v0}, Lorg/edgesr/sample/MainActivity;->setContentView(Landroid/view/View;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    const-string v1, "https://appassets.androidplatform.net/index.html"

    invoke-virtual {v0, v1}, Landroid/webkit/WebView;->loadUrl(Ljava/lang/String;)V

    return-void
.end method

.method protected onDestroy()V
    .registers 2

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    invoke-virtual {v0}, Landroid/webkit/WebView;->destroy()V

    invoke-super {p0}, Landroid/app/Activity;->onDestroy()V

    return-void
.end method

.method public onKeyDown(ILandroid/view/KeyEvent;)Z
    .registers 4

    const/4 v0, 0x4

    if-ne p1, v0, :cond_12

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    invoke-virtual {v0}, Landroid/webkit/WebView;->canGoBack()Z

    move-result v0

    if-eqz v0, :cond_12

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->page:Landroid/webkit/WebView;

    invoke-virtual {v0}, Landroid/webkit/WebView;->goBack()V

    const/4 v0, 0x1

    :goto_11
    return v0

    :cond_12
    invoke-super {p0, p1, p2}, Landroid/app/Activity;->onKeyDown(ILandroid/view/KeyEvent;)Z

    move-result v0

    goto :goto_11
.end method

.method protected onSaveInstanceState(Landroid/os/Bundle;)V
    .registers 4

    invoke-super {p0, p1}, Landroid/app/Activity;->onSaveInstanceState(Landroid/os/Bundle;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    if-eqz v0, :cond_12

    const-string v0, "leaving"

    iget-object v1, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    invoke-virtual {v1}, Ljava/io/File;->getName()Ljava/lang/String;

    move-result-object v1

    invoke-virtual {p1, v0, v1}, Landroid/os/Bundle;->putString(Ljava/lang/String;Ljava/lang/String;)V

    :cond_12
    return-void
.end method

.method restart()V
    .registers 2

    const-string v0, "Too little memory: the page was started again."

    invoke-virtual {p0, v0}, Lorg/edgesr/sample/MainActivity;->say(Ljava/lang/String;)V

    invoke-virtual {p0}, Lorg/edgesr/sample/MainActivity;->recreate()V

    return-void
.end method

.method save(Ljava/io/File;Ljava/lang/String;)V
    .registers 6

    iput-object p1, p0, Lorg/edgesr/sample/MainActivity;->leaving:Ljava/io/File;

    new-instance v0, Landroid/content/Intent;

    const-string v1, "android.intent.action.CREATE_DOCUMENT"

    invoke-direct {v0, v1}, Landroid/content/Intent;-><init>(Ljava/lang/String;)V

    const-string v1, "android.intent.category.OPENABLE"

    invoke-virtual {v0, v1}, Landroid/content/Intent;->addCategory(Ljava/lang/String;)Landroid/content/Intent;

    invoke-virtual {v0, p2}, Landroid/content/Intent;->setType(Ljava/lang/String;)Landroid/content/Intent;

    const-string v1, "android.intent.extra.TITLE"

    invoke-virtual {p1}, Ljava/io/File;->getName()Ljava/lang/String;

    move-result-object v2

    invoke-virtual {v0, v1, v2}, Landroid/content/Intent;->putExtra(Ljava/lang/String;Ljava/lang/String;)Landroid/content/Intent;

    const/4 v1, 0x2

    invoke-direct {p0, v0, v1}, Lorg/edgesr/sample/MainActivity;->start(Landroid/content/Intent;I)Z

    return-void
.end method

.method say(Ljava/lang/String;)V
    .registers 3

    const/4 v0, 0x1

    invoke-static {p0, p1, v0}, Landroid/widget/Toast;->makeText(Landroid/content/Context;Ljava/lang/CharSequence;I)Landroid/widget/Toast;

    move-result-object v0

    invoke-virtual {v0}, Landroid/widget/Toast;->show()V

    return-void
.end method

.method share(Ljava/io/File;Ljava/lang/String;)V
    .registers 6

    new-instance v0, Landroid/content/Intent;

    const-string v1, "android.intent.action.SEND"

    invoke-direct {v0, v1}, Landroid/content/Intent;-><init>(Ljava/lang/String;)V

    invoke-virtual {v0, p2}, Landroid/content/Intent;->setType(Ljava/lang/String;)Landroid/content/Intent;

    const-string v1, "android.intent.extra.STREAM"

    invoke-static {p1}, Lorg/edgesr/sample/Files;->address(Ljava/io/File;)Landroid/net/Uri;

    move-result-object v2

    invoke-virtual {v0, v1, v2}, Landroid/content/Intent;->putExtra(Ljava/lang/String;Landroid/os/Parcelable;)Landroid/content/Intent;

    const/4 v1, 0x1

    invoke-virtual {v0, v1}, Landroid/content/Intent;->addFlags(I)Landroid/content/Intent;

    const/4 v1, 0x0

    invoke-static {v0, v1}, Landroid/content/Intent;->createChooser(Landroid/content/Intent;Ljava/lang/CharSequence;)Landroid/content/Intent;

    move-result-object v0

    const/4 v1, 0x0

    invoke-direct {p0, v0, v1}, Lorg/edgesr/sample/MainActivity;->start(Landroid/content/Intent;I)Z

    return-void
.end method
