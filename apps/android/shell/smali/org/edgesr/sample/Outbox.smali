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

    if-eqz p1, :cond_8

    invoke-virtual {p1}, Ljava/io/File;->isFile()Z

    move-result v0

    if-nez v0, :cond_20

    :cond_8
    new-instance v0, Ljava/lang/StringBuilder;

    invoke-direct {v0}, Ljava/lang/StringBuilder;-><init>()V

    const-string v1, "Not saved: the result is gone, because the app was closed in between. Make it again."

    invoke-virtual {v0, v1}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-direct {p0, p2}, Lorg/edgesr/sample/Outbox;->discarded(Landroid/net/Uri;)Ljava/lang/String;

    move-result-object v1

    invoke-virtual {v0, v1}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-virtual {v0}, Ljava/lang/StringBuilder;->toString()Ljava/lang/String;

    move-result-object v0

    :goto_1f
    return-object v0

    :cond_20
    :try_start_20
    new-instance v1, Ljava/io/FileInputStream;

    invoke-direct {v1, p1}, Ljava/io/FileInputStream;-><init>(Ljava/io/File;)V
    :try_end_25
    .catch Ljava/io/IOException; {:try_start_20 .. :try_end_25} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_20 .. :try_end_25} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_20 .. :try_end_25} :catch_89

    :try_start_25
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-virtual {v0}, Lorg/edgesr/sample/MainActivity;->getContentResolver()Landroid/content/ContentResolver;

    move-result-object v0

    const-string v2, "wt"

    invoke-virtual {v0, p2, v2}, Landroid/content/ContentResolver;->openOutputStream(Landroid/net/Uri;Ljava/lang/String;)Ljava/io/OutputStream;
    :try_end_30
    .catch Ljava/lang/Throwable; {:try_start_25 .. :try_end_30} :catch_7d
    .catch Ljava/io/IOException; {:try_start_25 .. :try_end_30} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_25 .. :try_end_30} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_25 .. :try_end_30} :catch_89

    move-result-object v2

    const/high16 v0, 0x10000

    :try_start_33
    new-array v3, v0, [B

    invoke-virtual {v1, v3}, Ljava/io/InputStream;->read([B)I

    move-result v0

    :goto_39
    if-ltz v0, :cond_44

    const/4 v4, 0x0

    invoke-virtual {v2, v3, v4, v0}, Ljava/io/OutputStream;->write([BII)V

    invoke-virtual {v1, v3}, Ljava/io/InputStream;->read([B)I

    move-result v0

    goto :goto_39

    :cond_44
    const-string v0, "Saved."
    :try_end_46
    .catch Ljava/lang/Throwable; {:try_start_33 .. :try_end_46} :catch_76
    .catch Ljava/io/IOException; {:try_start_33 .. :try_end_46} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_33 .. :try_end_46} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_33 .. :try_end_46} :catch_89

    if-eqz v2, :cond_4b

    :try_start_48
    invoke-virtual {v2}, Ljava/io/OutputStream;->close()V
    :try_end_4b
    .catch Ljava/lang/Throwable; {:try_start_48 .. :try_end_4b} :catch_7d
    .catch Ljava/io/IOException; {:try_start_48 .. :try_end_4b} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_48 .. :try_end_4b} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_48 .. :try_end_4b} :catch_89

    :cond_4b
    :try_start_4b
    invoke-virtual {v1}, Ljava/io/InputStream;->close()V
    :try_end_4e
    .catch Ljava/io/IOException; {:try_start_4b .. :try_end_4e} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_4b .. :try_end_4e} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_4b .. :try_end_4e} :catch_89

    goto :goto_1f

    :catch_4f
    move-exception v0

    :goto_50
    new-instance v1, Ljava/lang/StringBuilder;

    invoke-direct {v1}, Ljava/lang/StringBuilder;-><init>()V

    const-string v2, "Not saved: "

    invoke-virtual {v1, v2}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v1

    invoke-virtual {v0}, Ljava/lang/Exception;->getMessage()Ljava/lang/String;

    move-result-object v0

    invoke-virtual {v1, v0}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    const-string v1, "."

    invoke-virtual {v0, v1}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-direct {p0, p2}, Lorg/edgesr/sample/Outbox;->discarded(Landroid/net/Uri;)Ljava/lang/String;

    move-result-object v1

    invoke-virtual {v0, v1}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-virtual {v0}, Ljava/lang/StringBuilder;->toString()Ljava/lang/String;

    move-result-object v0

    goto :goto_1f

    :catch_76
    move-exception v0

    if-eqz v2, :cond_7c

    :try_start_79
    invoke-virtual {v2}, Ljava/io/OutputStream;->close()V
    :try_end_7c
    .catch Ljava/lang/Throwable; {:try_start_79 .. :try_end_7c} :catch_84
    .catch Ljava/io/IOException; {:try_start_79 .. :try_end_7c} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_79 .. :try_end_7c} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_79 .. :try_end_7c} :catch_89

    :cond_7c
    :goto_7c
    :try_start_7c
    throw v0
    :try_end_7d
    .catch Ljava/lang/Throwable; {:try_start_7c .. :try_end_7d} :catch_7d
    .catch Ljava/io/IOException; {:try_start_7c .. :try_end_7d} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_7c .. :try_end_7d} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_7c .. :try_end_7d} :catch_89

    :catch_7d
    move-exception v0

    :try_start_7e
    invoke-virtual {v1}, Ljava/io/InputStream;->close()V
    :try_end_81
    .catch Ljava/lang/Throwable; {:try_start_7e .. :try_end_81} :catch_8b
    .catch Ljava/io/IOException; {:try_start_7e .. :try_end_81} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_7e .. :try_end_81} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_7e .. :try_end_81} :catch_89

    :goto_81
    :try_start_81
    throw v0
    :try_end_82
    .catch Ljava/io/IOException; {:try_start_81 .. :try_end_82} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_81 .. :try_end_82} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_81 .. :try_end_82} :catch_89

    :catch_82
    move-exception v0

    goto :goto_50

    :catch_84
    move-exception v2

    :try_start_85
    invoke-virtual {v0, v2}, Ljava/lang/Throwable;->addSuppressed(Ljava/lang/Throwable;)V
    :try_end_88
    .catch Ljava/lang/Throwable; {:try_start_85 .. :try_end_88} :catch_7d
    .catch Ljava/io/IOException; {:try_start_85 .. :try_end_88} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_85 .. :try_end_88} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_85 .. :try_end_88} :catch_89

    goto :goto_7c

    :catch_89
    move-exception v0

    goto :goto_50

    :catch_8b
    move-exception v1

    :try_start_8c
    invoke-virtual {v0, v1}, Ljava/lang/Throwable;->addSuppressed(Ljava/lang/Throwable;)V
    :try_end_8f
    .catch Ljava/io/IOException; {:try_start_8c .. :try_end_8f} :catch_4f
    .catch Ljava/lang/SecurityException; {:try_start_8c .. :try_end_8f} :catch_82
    .catch Ljava/lang/NullPointerException; {:try_start_8c .. :try_end_8f} :catch_89

    goto :goto_81
.end method

.method private discarded(Landroid/net/Uri;)Ljava/lang/String;
    .registers 3

    :try_start_0
    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-virtual {v0}, Lorg/edgesr/sample/MainActivity;->getContentResolver()Landroid/content/ContentResolver;

    move-result-object v0

    invoke-static {v0, p1}, Landroid/provider/DocumentsContract;->deleteDocument(Landroid/content/ContentResolver;Landroid/net/Uri;)Z

    move-result v0

    if-eqz v0, :cond_10

    const-string v0, ""
    :try_end_e
    .catch Ljava/lang/Exception; {:try_start_0 .. :try_end_e} :catch_f

    :goto_e
    return-object v0

    :catch_f
    move-exception v0

    :cond_10
    const-string v0, " A file that is not whole is left there: delete it."

    goto :goto_e
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
    .registers 9

    invoke-static {p1}, Lorg/edgesr/sample/Paths;->plainName(Ljava/lang/String;)Ljava/lang/String;

    move-result-object v1

    iget-object v0, p0, Lorg/edgesr/sample/Outbox;->activity:Lorg/edgesr/sample/MainActivity;

    invoke-static {v0}, Lorg/edgesr/sample/Files;->folder(Landroid/content/Context;)Ljava/io/File;

    move-result-object v2

    invoke-virtual {v2}, Ljava/io/File;->listFiles()[Ljava/io/File;

    move-result-object v3

    if-eqz v3, :cond_26

    array-length v4, v3

    const/4 v0, 0x0

    :goto_12
    if-ge v0, v4, :cond_26

    aget-object v5, v3, v0

    invoke-virtual {v5}, Ljava/io/File;->getName()Ljava/lang/String;

    move-result-object v6

    invoke-static {v6, v1}, Lorg/edgesr/sample/Paths;->givesWay(Ljava/lang/String;Ljava/lang/String;)Z

    move-result v6

    if-eqz v6, :cond_23

    invoke-virtual {v5}, Ljava/io/File;->delete()Z

    :cond_23
    add-int/lit8 v0, v0, 0x1

    goto :goto_12

    :cond_26
    invoke-virtual {v2}, Ljava/io/File;->mkdirs()Z

    new-instance v0, Ljava/io/File;

    invoke-direct {v0, v2, v1}, Ljava/io/File;-><init>(Ljava/io/File;Ljava/lang/String;)V

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
