.class final Lorg/edgesr/sample/MainActivity$Chooser;
.super Landroid/webkit/WebChromeClient;


# annotations
.annotation system Ldalvik/annotation/EnclosingClass;
    value = Lorg/edgesr/sample/MainActivity;
.end annotation

.annotation system Ldalvik/annotation/InnerClass;
    accessFlags = 0x12
    name = "Chooser"
.end annotation


# instance fields
.field final synthetic this$0:Lorg/edgesr/sample/MainActivity;


# direct methods
.method private constructor <init>(Lorg/edgesr/sample/MainActivity;)V
    .registers 2

    iput-object p1, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    invoke-direct {p0}, Landroid/webkit/WebChromeClient;-><init>()V

    return-void
.end method

.method synthetic constructor <init>(Lorg/edgesr/sample/MainActivity;Lorg/edgesr/sample/MainActivity$1;)V
    .registers 3

    invoke-direct {p0, p1}, Lorg/edgesr/sample/MainActivity$Chooser;-><init>(Lorg/edgesr/sample/MainActivity;)V

    return-void
.end method


# virtual methods
.method public onShowFileChooser(Landroid/webkit/WebView;Landroid/webkit/ValueCallback;Landroid/webkit/WebChromeClient$FileChooserParams;)Z
    .registers 9
    .annotation system Ldalvik/annotation/Signature;
        value = {
            "(",
            "Landroid/webkit/WebView;",
            "Landroid/webkit/ValueCallback",
            "<[",
            "Landroid/net/Uri;",
            ">;",
            "Landroid/webkit/WebChromeClient$FileChooserParams;",
            ")Z"
        }
    .end annotation

    const/4 v4, 0x1

    const/4 v3, 0x0

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # getter for: Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;
    invoke-static {v0}, Lorg/edgesr/sample/MainActivity;->access$100(Lorg/edgesr/sample/MainActivity;)Landroid/webkit/ValueCallback;

    move-result-object v0

    if-eqz v0, :cond_13

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # getter for: Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;
    invoke-static {v0}, Lorg/edgesr/sample/MainActivity;->access$100(Lorg/edgesr/sample/MainActivity;)Landroid/webkit/ValueCallback;

    move-result-object v0

    invoke-interface {v0, v3}, Landroid/webkit/ValueCallback;->onReceiveValue(Ljava/lang/Object;)V

    :cond_13
    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # setter for: Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;
    invoke-static {v0, p2}, Lorg/edgesr/sample/MainActivity;->access$102(Lorg/edgesr/sample/MainActivity;Landroid/webkit/ValueCallback;)Landroid/webkit/ValueCallback;

    invoke-virtual {p3}, Landroid/webkit/WebChromeClient$FileChooserParams;->isCaptureEnabled()Z

    move-result v0

    if-eqz v0, :cond_52

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    iget-object v1, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # getter for: Lorg/edgesr/sample/MainActivity;->outbox:Lorg/edgesr/sample/Outbox;
    invoke-static {v1}, Lorg/edgesr/sample/MainActivity;->access$300(Lorg/edgesr/sample/MainActivity;)Lorg/edgesr/sample/Outbox;

    move-result-object v1

    const-string v2, "picture.jpg"

    invoke-virtual {v1, v2}, Lorg/edgesr/sample/Outbox;->fresh(Ljava/lang/String;)Ljava/io/File;

    move-result-object v1

    invoke-static {v1}, Lorg/edgesr/sample/Files;->address(Ljava/io/File;)Landroid/net/Uri;

    move-result-object v1

    # setter for: Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;
    invoke-static {v0, v1}, Lorg/edgesr/sample/MainActivity;->access$202(Lorg/edgesr/sample/MainActivity;Landroid/net/Uri;)Landroid/net/Uri;

    new-instance v0, Landroid/content/Intent;

    const-string v1, "android.media.action.IMAGE_CAPTURE"

    invoke-direct {v0, v1}, Landroid/content/Intent;-><init>(Ljava/lang/String;)V

    const-string v1, "output"

    iget-object v2, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # getter for: Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;
    invoke-static {v2}, Lorg/edgesr/sample/MainActivity;->access$200(Lorg/edgesr/sample/MainActivity;)Landroid/net/Uri;

    move-result-object v2

    invoke-virtual {v0, v1, v2}, Landroid/content/Intent;->putExtra(Ljava/lang/String;Landroid/os/Parcelable;)Landroid/content/Intent;

    const/4 v1, 0x3

    invoke-virtual {v0, v1}, Landroid/content/Intent;->addFlags(I)Landroid/content/Intent;

    :goto_49
    iget-object v1, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # invokes: Lorg/edgesr/sample/MainActivity;->start(Landroid/content/Intent;I)Z
    invoke-static {v1, v0, v4}, Lorg/edgesr/sample/MainActivity;->access$400(Lorg/edgesr/sample/MainActivity;Landroid/content/Intent;I)Z

    move-result v0

    if-eqz v0, :cond_5c

    :goto_51
    return v4

    :cond_52
    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # setter for: Lorg/edgesr/sample/MainActivity;->picture:Landroid/net/Uri;
    invoke-static {v0, v3}, Lorg/edgesr/sample/MainActivity;->access$202(Lorg/edgesr/sample/MainActivity;Landroid/net/Uri;)Landroid/net/Uri;

    invoke-virtual {p3}, Landroid/webkit/WebChromeClient$FileChooserParams;->createIntent()Landroid/content/Intent;

    move-result-object v0

    goto :goto_49

    :cond_5c
    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # getter for: Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;
    invoke-static {v0}, Lorg/edgesr/sample/MainActivity;->access$100(Lorg/edgesr/sample/MainActivity;)Landroid/webkit/ValueCallback;

    move-result-object v0

    invoke-interface {v0, v3}, Landroid/webkit/ValueCallback;->onReceiveValue(Ljava/lang/Object;)V

    iget-object v0, p0, Lorg/edgesr/sample/MainActivity$Chooser;->this$0:Lorg/edgesr/sample/MainActivity;

    # setter for: Lorg/edgesr/sample/MainActivity;->waiting:Landroid/webkit/ValueCallback;
    invoke-static {v0, v3}, Lorg/edgesr/sample/MainActivity;->access$102(Lorg/edgesr/sample/MainActivity;Landroid/webkit/ValueCallback;)Landroid/webkit/ValueCallback;

    goto :goto_51
.end method
