.class Lorg/edgesr/sample/Outbox$2$1;
.super Ljava/lang/Object;

# interfaces
.implements Ljava/lang/Runnable;


# annotations
.annotation system Ldalvik/annotation/EnclosingMethod;
    value = Lorg/edgesr/sample/Outbox$2;->run()V
.end annotation

.annotation system Ldalvik/annotation/InnerClass;
    accessFlags = 0x0
    name = null
.end annotation


# instance fields
.field final synthetic this$1:Lorg/edgesr/sample/Outbox$2;

.field final synthetic val$said:Ljava/lang/String;


# direct methods
.method constructor <init>(Lorg/edgesr/sample/Outbox$2;Ljava/lang/String;)V
    .registers 3
    .annotation system Ldalvik/annotation/Signature;
        value = {
            "()V"
        }
    .end annotation

    iput-object p1, p0, Lorg/edgesr/sample/Outbox$2$1;->this$1:Lorg/edgesr/sample/Outbox$2;

    iput-object p2, p0, Lorg/edgesr/sample/Outbox$2$1;->val$said:Ljava/lang/String;

    invoke-direct {p0}, Ljava/lang/Object;-><init>()V

    return-void
.end method


# virtual methods
.method public run()V
    .registers 3

    iget-object v0, p0, Lorg/edgesr/sample/Outbox$2$1;->this$1:Lorg/edgesr/sample/Outbox$2;

    iget-object v0, v0, Lorg/edgesr/sample/Outbox$2;->this$0:Lorg/edgesr/sample/Outbox;

    # getter for: Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;
    invoke-static {v0}, Lorg/edgesr/sample/Outbox;->access$000(Lorg/edgesr/sample/Outbox;)Lorg/edgesr/sample/MainActivity;

    move-result-object v0

    iget-object v1, p0, Lorg/edgesr/sample/Outbox$2$1;->val$said:Ljava/lang/String;

    invoke-virtual {v0, v1}, Lorg/edgesr/sample/MainActivity;->say(Ljava/lang/String;)V

    return-void
.end method
