.class Lorg/edgesr/sample/Outbox$1;
.super Ljava/lang/Object;

# interfaces
.implements Ljava/lang/Runnable;


# annotations
.annotation system Ldalvik/annotation/EnclosingMethod;
    value = Lorg/edgesr/sample/Outbox;->leave(Z)Z
.end annotation

.annotation system Ldalvik/annotation/InnerClass;
    accessFlags = 0x0
    name = null
.end annotation


# instance fields
.field final synthetic this$0:Lorg/edgesr/sample/Outbox;

.field final synthetic val$kind:Ljava/lang/String;

.field final synthetic val$shared:Z

.field final synthetic val$whole:Ljava/io/File;


# direct methods
.method constructor <init>(Lorg/edgesr/sample/Outbox;ZLjava/io/File;Ljava/lang/String;)V
    .registers 5
    .annotation system Ldalvik/annotation/Signature;
        value = {
            "()V"
        }
    .end annotation

    iput-object p1, p0, Lorg/edgesr/sample/Outbox$1;->this$0:Lorg/edgesr/sample/Outbox;

    iput-boolean p2, p0, Lorg/edgesr/sample/Outbox$1;->val$shared:Z

    iput-object p3, p0, Lorg/edgesr/sample/Outbox$1;->val$whole:Ljava/io/File;

    iput-object p4, p0, Lorg/edgesr/sample/Outbox$1;->val$kind:Ljava/lang/String;

    invoke-direct {p0}, Ljava/lang/Object;-><init>()V

    return-void
.end method


# virtual methods
.method public run()V
    .registers 4

    iget-boolean v0, p0, Lorg/edgesr/sample/Outbox$1;->val$shared:Z

    if-eqz v0, :cond_12

    iget-object v0, p0, Lorg/edgesr/sample/Outbox$1;->this$0:Lorg/edgesr/sample/Outbox;

    # getter for: Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;
    invoke-static {v0}, Lorg/edgesr/sample/Outbox;->access$000(Lorg/edgesr/sample/Outbox;)Lorg/edgesr/sample/MainActivity;

    move-result-object v0

    iget-object v1, p0, Lorg/edgesr/sample/Outbox$1;->val$whole:Ljava/io/File;

    iget-object v2, p0, Lorg/edgesr/sample/Outbox$1;->val$kind:Ljava/lang/String;

    invoke-virtual {v0, v1, v2}, Lorg/edgesr/sample/MainActivity;->share(Ljava/io/File;Ljava/lang/String;)V

    :goto_11
    return-void

    :cond_12
    iget-object v0, p0, Lorg/edgesr/sample/Outbox$1;->this$0:Lorg/edgesr/sample/Outbox;

    # getter for: Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;
    invoke-static {v0}, Lorg/edgesr/sample/Outbox;->access$000(Lorg/edgesr/sample/Outbox;)Lorg/edgesr/sample/MainActivity;

    move-result-object v0

    iget-object v1, p0, Lorg/edgesr/sample/Outbox$1;->val$whole:Ljava/io/File;

    iget-object v2, p0, Lorg/edgesr/sample/Outbox$1;->val$kind:Ljava/lang/String;

    invoke-virtual {v0, v1, v2}, Lorg/edgesr/sample/MainActivity;->save(Ljava/io/File;Ljava/lang/String;)V

    goto :goto_11
.end method
