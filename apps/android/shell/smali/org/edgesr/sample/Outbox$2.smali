.class Lorg/edgesr/sample/Outbox$2;
.super Ljava/lang/Object;

# interfaces
.implements Ljava/lang/Runnable;


# annotations
.annotation system Ldalvik/annotation/EnclosingMethod;
    value = Lorg/edgesr/sample/Outbox;->copy(Ljava/io/File;Landroid/net/Uri;)V
.end annotation

.annotation system Ldalvik/annotation/InnerClass;
    accessFlags = 0x0
    name = null
.end annotation


# instance fields
.field final synthetic this$0:Lorg/edgesr/sample/Outbox;

.field final synthetic val$source:Ljava/io/File;

.field final synthetic val$target:Landroid/net/Uri;


# direct methods
.method constructor <init>(Lorg/edgesr/sample/Outbox;Ljava/io/File;Landroid/net/Uri;)V
    .registers 4
    .annotation system Ldalvik/annotation/Signature;
        value = {
            "()V"
        }
    .end annotation

    iput-object p1, p0, Lorg/edgesr/sample/Outbox$2;->this$0:Lorg/edgesr/sample/Outbox;

    iput-object p2, p0, Lorg/edgesr/sample/Outbox$2;->val$source:Ljava/io/File;

    iput-object p3, p0, Lorg/edgesr/sample/Outbox$2;->val$target:Landroid/net/Uri;

    invoke-direct {p0}, Ljava/lang/Object;-><init>()V

    return-void
.end method


# virtual methods
.method public run()V
    .registers 4

    iget-object v0, p0, Lorg/edgesr/sample/Outbox$2;->this$0:Lorg/edgesr/sample/Outbox;

    iget-object v1, p0, Lorg/edgesr/sample/Outbox$2;->val$source:Ljava/io/File;

    iget-object v2, p0, Lorg/edgesr/sample/Outbox$2;->val$target:Landroid/net/Uri;

    # invokes: Lorg/edgesr/sample/Outbox;->copied(Ljava/io/File;Landroid/net/Uri;)Ljava/lang/String;
    invoke-static {v0, v1, v2}, Lorg/edgesr/sample/Outbox;->access$100(Lorg/edgesr/sample/Outbox;Ljava/io/File;Landroid/net/Uri;)Ljava/lang/String;

    move-result-object v0

    iget-object v1, p0, Lorg/edgesr/sample/Outbox$2;->this$0:Lorg/edgesr/sample/Outbox;

    # getter for: Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;
    invoke-static {v1}, Lorg/edgesr/sample/Outbox;->access$000(Lorg/edgesr/sample/Outbox;)Lorg/edgesr/sample/MainActivity;

    move-result-object v1

    new-instance v2, Lorg/edgesr/sample/Outbox$2$1;

    invoke-direct {v2, p0, v0}, Lorg/edgesr/sample/Outbox$2$1;-><init>(Lorg/edgesr/sample/Outbox$2;Ljava/lang/String;)V

    invoke-virtual {v1, v2}, Lorg/edgesr/sample/MainActivity;->runOnUiThread(Ljava/lang/Runnable;)V

    return-void
.end method
