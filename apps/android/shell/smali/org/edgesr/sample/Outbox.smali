.class final Lorg/edgesr/sample/Outbox;
.super Ljava/lang/Object;


# static fields
.field private static final BUFFER:I = 0x10000


# instance fields
.field private final activity:Lorg/edgesr/sample/MainActivity;

.field private file:Ljava/io/File;

.field private stream:Ljava/io/OutputStream;

.field private type:Ljava/lang/String;


# direct methods
.method constructor <init>(Lorg/edgesr/sample/MainActivity;)V
    .registers 2

    invoke-direct {p0}, Ljava/lang/Object;-><init>()V

    iput-object p1, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    return-void
.end method

.method static synthetic access$000(Lorg/edgesr/sample/Outbox;)Lorg/edgesr/sample/MainActivity;
    .registers 2

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    return-object v0
.end method

.method static synthetic access$100(Lorg/edgesr/sample/Outbox;Ljava/io/File;Landroid/net/Uri;)Ljava/lang/String;
    .registers 4

    invoke-direct {p0, p1, p2}, Lorg/edgesr/sample/Outbox;->copied(Ljava/io/File;Landroid/net/Uri;)Ljava/lang/String;

    move-result-object v0

    return-object v0
.end method

.method private close()Z
    .registers 3

    const/4 v1, 0x0

    :try_start_1
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;

    if-eqz v0, :cond_a

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;

    invoke-virtual {v0}, Ljava/io/OutputStream;->close()V

    :cond_a
    const/4 v0, 0x0

    iput-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;
    :try_end_d
    .catch Ljava/io/IOException; {:try_start_1 .. :try_end_d} :catch_f

    const/4 v0, 0x1

    :goto_e
    return v0

    :catch_f
    move-exception v0

    iput-object v1, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;

    const/4 v0, 0x0

    goto :goto_e
.end method

.method private copied(Ljava/io/File;Landroid/net/Uri;)Ljava/lang/String;
    .registers 8

    :try_start_0
    new-instance v1, Ljava/io/FileInputStream;

    invoke-direct {v1, p1}, Ljava/io/FileInputStream;-><init>(Ljava/io/File;)V
    :try_end_5
    .catch Ljava/io/IOException; {:try_start_0 .. :try_end_5} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_0 .. :try_end_5} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_0 .. :try_end_5} :catch_60

    :try_start_5
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-virtual {v0}, Lorg/edgesr/sample/MainActivity;->getContentResolver()Landroid/content/ContentResolver;

    move-result-object v0

    const-string v2, "wt"

    invoke-virtual {v0, p2, v2}, Landroid/content/ContentResolver;->openOutputStream(Landroid/net/Uri;Ljava/lang/String;)Ljava/io/OutputStream;
    :try_end_10
    .catch Ljava/lang/Throwable; {:try_start_5 .. :try_end_10} :catch_36
    .catch Ljava/io/IOException; {:try_start_5 .. :try_end_10} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_5 .. :try_end_10} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_5 .. :try_end_10} :catch_60

    move-result-object v2

    const/high16 v0, 0x10000

    :try_start_13
    new-array v3, v0, [B

    invoke-virtual {v1, v3}, Ljava/io/InputStream;->read([B)I

    move-result v0

    :goto_19
    if-ltz v0, :cond_24

    const/4 v4, 0x0

    invoke-virtual {v2, v3, v4, v0}, Ljava/io/OutputStream;->write([BII)V

    invoke-virtual {v1, v3}, Ljava/io/InputStream;->read([B)I

    move-result v0

    goto :goto_19

    :cond_24
    const-string v0, "Saved."
    :try_end_26
    .catch Ljava/lang/Throwable; {:try_start_13 .. :try_end_26} :catch_2f
    .catch Ljava/io/IOException; {:try_start_13 .. :try_end_26} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_13 .. :try_end_26} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_13 .. :try_end_26} :catch_60

    if-eqz v2, :cond_2b

    :try_start_28
    invoke-virtual {v2}, Ljava/io/OutputStream;->close()V
    :try_end_2b
    .catch Ljava/lang/Throwable; {:try_start_28 .. :try_end_2b} :catch_36
    .catch Ljava/io/IOException; {:try_start_28 .. :try_end_2b} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_28 .. :try_end_2b} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_28 .. :try_end_2b} :catch_60

    :cond_2b
    :try_start_2b
    invoke-virtual {v1}, Ljava/io/InputStream;->close()V
    :try_end_2e
    .catch Ljava/io/IOException; {:try_start_2b .. :try_end_2e} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_2b .. :try_end_2e} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_2b .. :try_end_2e} :catch_60

    :goto_2e
    return-object v0

    :catch_2f
    move-exception v0

    if-eqz v2, :cond_35

    :try_start_32
    invoke-virtual {v2}, Ljava/io/OutputStream;->close()V
    :try_end_35
    .catch Ljava/lang/Throwable; {:try_start_32 .. :try_end_35} :catch_54
    .catch Ljava/io/IOException; {:try_start_32 .. :try_end_35} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_32 .. :try_end_35} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_32 .. :try_end_35} :catch_60

    :cond_35
    :goto_35
    :try_start_35
    throw v0
    :try_end_36
    .catch Ljava/lang/Throwable; {:try_start_35 .. :try_end_36} :catch_36
    .catch Ljava/io/IOException; {:try_start_35 .. :try_end_36} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_35 .. :try_end_36} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_35 .. :try_end_36} :catch_60

    :catch_36
    move-exception v0

    :try_start_37
    invoke-virtual {v1}, Ljava/io/InputStream;->close()V
    :try_end_3a
    .catch Ljava/lang/Throwable; {:try_start_37 .. :try_end_3a} :catch_5b
    .catch Ljava/io/IOException; {:try_start_37 .. :try_end_3a} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_37 .. :try_end_3a} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_37 .. :try_end_3a} :catch_60

    :goto_3a
    :try_start_3a
    throw v0
    :try_end_3b
    .catch Ljava/io/IOException; {:try_start_3a .. :try_end_3b} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_3a .. :try_end_3b} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_3a .. :try_end_3b} :catch_60

    :catch_3b
    move-exception v0

    :goto_3c
    new-instance v1, Ljava/lang/StringBuilder;

    invoke-direct {v1}, Ljava/lang/StringBuilder;-><init>()V

    const-string v2, "Not saved: "

    invoke-virtual {v1, v2}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v1

    invoke-virtual {v0}, Ljava/lang/Exception;->getMessage()Ljava/lang/String;

    move-result-object v0

    invoke-virtual {v1, v0}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-virtual {v0}, Ljava/lang/StringBuilder;->toString()Ljava/lang/String;

    move-result-object v0

    goto :goto_2e

    :catch_54
    move-exception v2

    :try_start_55
    invoke-virtual {v0, v2}, Ljava/lang/Throwable;->addSuppressed(Ljava/lang/Throwable;)V
    :try_end_58
    .catch Ljava/lang/Throwable; {:try_start_55 .. :try_end_58} :catch_36
    .catch Ljava/io/IOException; {:try_start_55 .. :try_end_58} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_55 .. :try_end_58} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_55 .. :try_end_58} :catch_60

    goto :goto_35

    :catch_59
    move-exception v0

    goto :goto_3c

    :catch_5b
    move-exception v1

    :try_start_5c
    invoke-virtual {v0, v1}, Ljava/lang/Throwable;->addSuppressed(Ljava/lang/Throwable;)V
    :try_end_5f
    .catch Ljava/io/IOException; {:try_start_5c .. :try_end_5f} :catch_3b
    .catch Ljava/lang/SecurityException; {:try_start_5c .. :try_end_5f} :catch_59
    .catch Ljava/lang/NullPointerException; {:try_start_5c .. :try_end_5f} :catch_60

    goto :goto_3a

    :catch_60
    move-exception v0

    goto :goto_3c
.end method

.method private failed()Z
    .registers 2

    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->close()Z

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    if-eqz v0, :cond_c

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    invoke-virtual {v0}, Ljava/io/File;->delete()Z

    :cond_c
    const/4 v0, 0x0

    iput-object v0, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    const/4 v0, 0x0

    return v0
.end method

.method private leave(Z)Z
    .registers 6

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;

    if-eqz v0, :cond_a

    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->close()Z

    move-result v0

    if-nez v0, :cond_f

    :cond_a
    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->failed()Z

    move-result v0

    :goto_e
    return v0

    :cond_f
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    iget-object v1, p0, Lorg/edgesr/sample/Outbox;->type:Ljava/lang/String;

    iget-object v2, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    new-instance v3, Lorg/edgesr/sample/Outbox$1;

    invoke-direct {v3, p0, p1, v0, v1}, Lorg/edgesr/sample/Outbox$1;-><init>(Lorg/edgesr/sample/Outbox;ZLjava/io/File;Ljava/lang/String;)V

    invoke-virtual {v2, v3}, Lorg/edgesr/sample/MainActivity;->runOnUiThread(Ljava/lang/Runnable;)V

    const/4 v0, 0x1

    goto :goto_e
.end method


# virtual methods
.method public declared-synchronized append(Ljava/lang/String;)Z
    .registers 4
    .annotation runtime Landroid/webkit/JavascriptInterface;
    .end annotation

    const/4 v0, 0x0

    monitor-enter p0

    :try_start_2
    iget-object v1, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;
    :try_end_4
    .catch Ljava/io/IOException; {:try_start_2 .. :try_end_4} :catch_14
    .catch Ljava/lang/IllegalArgumentException; {:try_start_2 .. :try_end_4} :catch_1d
    .catchall {:try_start_2 .. :try_end_4} :catchall_1a

    if-nez v1, :cond_8

    :goto_6
    monitor-exit p0

    return v0

    :cond_8
    :try_start_8
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;

    const/4 v1, 0x0

    invoke-static {p1, v1}, Landroid/util/Base64;->decode(Ljava/lang/String;I)[B

    move-result-object v1

    invoke-virtual {v0, v1}, Ljava/io/OutputStream;->write([B)V
    :try_end_12
    .catch Ljava/io/IOException; {:try_start_8 .. :try_end_12} :catch_14
    .catch Ljava/lang/IllegalArgumentException; {:try_start_8 .. :try_end_12} :catch_1d
    .catchall {:try_start_8 .. :try_end_12} :catchall_1a

    const/4 v0, 0x1

    goto :goto_6

    :catch_14
    move-exception v0

    :goto_15
    :try_start_15
    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->failed()Z
    :try_end_18
    .catchall {:try_start_15 .. :try_end_18} :catchall_1a

    move-result v0

    goto :goto_6

    :catchall_1a
    move-exception v0

    monitor-exit p0

    throw v0

    :catch_1d
    move-exception v0

    goto :goto_15
.end method

.method public declared-synchronized begin(Ljava/lang/String;Ljava/lang/String;)Z
    .registers 5
    .annotation runtime Landroid/webkit/JavascriptInterface;
    .end annotation

    monitor-enter p0

    :try_start_1
    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->close()Z
    :try_end_4
    .catchall {:try_start_1 .. :try_end_4} :catchall_29

    :try_start_4
    invoke-virtual {p0, p1}, Lorg/edgesr/sample/Outbox;->fresh(Ljava/lang/String;)Ljava/io/File;

    move-result-object v0

    iput-object v0, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    const-string v0, "[a-z]+/[a-z0-9.+-]+"

    invoke-virtual {p2, v0}, Ljava/lang/String;->matches(Ljava/lang/String;)Z

    move-result v0

    if-eqz v0, :cond_20

    :goto_12
    iput-object p2, p0, Lorg/edgesr/sample/Outbox;->type:Ljava/lang/String;

    new-instance v0, Ljava/io/FileOutputStream;

    iget-object v1, p0, Lorg/edgesr/sample/Outbox;->file:Ljava/io/File;

    invoke-direct {v0, v1}, Ljava/io/FileOutputStream;-><init>(Ljava/io/File;)V

    iput-object v0, p0, Lorg/edgesr/sample/Outbox;->stream:Ljava/io/OutputStream;
    :try_end_1d
    .catch Ljava/io/IOException; {:try_start_4 .. :try_end_1d} :catch_23
    .catchall {:try_start_4 .. :try_end_1d} :catchall_29

    const/4 v0, 0x1

    :goto_1e
    monitor-exit p0

    return v0

    :cond_20
    :try_start_20
    const-string p2, "application/octet-stream"
    :try_end_22
    .catch Ljava/io/IOException; {:try_start_20 .. :try_end_22} :catch_23
    .catchall {:try_start_20 .. :try_end_22} :catchall_29

    goto :goto_12

    :catch_23
    move-exception v0

    :try_start_24
    invoke-direct {p0}, Lorg/edgesr/sample/Outbox;->failed()Z
    :try_end_27
    .catchall {:try_start_24 .. :try_end_27} :catchall_29

    move-result v0

    goto :goto_1e

    :catchall_29
    move-exception v0

    monitor-exit p0

    throw v0
.end method

.method copy(Ljava/io/File;Landroid/net/Uri;)V
    .registers 5

    new-instance v0, Ljava/lang/Thread;

    new-instance v1, Lorg/edgesr/sample/Outbox$2;

    invoke-direct {v1, p0, p1, p2}, Lorg/edgesr/sample/Outbox$2;-><init>(Lorg/edgesr/sample/Outbox;Ljava/io/File;Landroid/net/Uri;)V

    invoke-direct {v0, v1}, Ljava/lang/Thread;-><init>(Ljava/lang/Runnable;)V

    invoke-virtual {v0}, Ljava/lang/Thread;->start()V

    return-void
.end method

.method fresh(Ljava/lang/String;)Ljava/io/File;
    .registers 7

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-static {v0}, Lorg/edgesr/sample/Files;->folder(Landroid/content/Context;)Ljava/io/File;

    move-result-object v1

    invoke-virtual {v1}, Ljava/io/File;->listFiles()[Ljava/io/File;

    move-result-object v2

    if-eqz v2, :cond_18

    array-length v3, v2

    const/4 v0, 0x0

    :goto_e
    if-ge v0, v3, :cond_18

    aget-object v4, v2, v0

    invoke-virtual {v4}, Ljava/io/File;->delete()Z

    add-int/lit8 v0, v0, 0x1

    goto :goto_e

    :cond_18
    invoke-virtual {v1}, Ljava/io/File;->mkdirs()Z

    new-instance v0, Ljava/io/File;

    invoke-static {p1}, Lorg/edgesr/sample/Paths;->plainName(Ljava/lang/String;)Ljava/lang/String;

    move-result-object v2

    invoke-direct {v0, v1, v2}, Ljava/io/File;-><init>(Ljava/io/File;Ljava/lang/String;)V

    return-object v0
.end method

.method public declared-synchronized save()Z
    .registers 2
    .annotation runtime Landroid/webkit/JavascriptInterface;
    .end annotation

    monitor-enter p0

    const/4 v0, 0x0

    :try_start_2
    invoke-direct {p0, v0}, Lorg/edgesr/sample/Outbox;->leave(Z)Z
    :try_end_5
    .catchall {:try_start_2 .. :try_end_5} :catchall_8

    move-result v0

    monitor-exit p0

    return v0

    :catchall_8
    move-exception v0

    monitor-exit p0

    throw v0
.end method

.method public declared-synchronized share()Z
    .registers 2
    .annotation runtime Landroid/webkit/JavascriptInterface;
    .end annotation

    monitor-enter p0

    const/4 v0, 0x1

    :try_start_2
    invoke-direct {p0, v0}, Lorg/edgesr/sample/Outbox;->leave(Z)Z
    :try_end_5
    .catchall {:try_start_2 .. :try_end_5} :catchall_8

    move-result v0

    monitor-exit p0

    return v0

    :catchall_8
    move-exception v0

    monitor-exit p0

    throw v0
.end method
