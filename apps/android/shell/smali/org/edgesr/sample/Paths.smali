.class final Lorg/edgesr/sample/Paths;
.super Ljava/lang/Object;


# static fields
.field static final HOST:Ljava/lang/String; = "appassets.androidplatform.net"

.field private static final LONGEST:I = 0x64

.field static final PICTURE:Ljava/lang/String; = "picture.jpg"


# direct methods
.method private constructor <init>()V
    .registers 1

    invoke-direct {p0}, Ljava/lang/Object;-><init>()V

    return-void
.end method

.method static givesWay(Ljava/lang/String;Ljava/lang/String;)Z
    .registers 4

    const-string v0, "picture.jpg"

    invoke-virtual {p0, v0}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    const-string v1, "picture.jpg"

    invoke-virtual {p1, v1}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-ne v0, v1, :cond_10

    const/4 v0, 0x1

    :goto_f
    return v0

    :cond_10
    const/4 v0, 0x0

    goto :goto_f
.end method

.method static inAssets(Ljava/lang/String;Ljava/lang/String;Ljava/lang/String;)Ljava/lang/String;
    .registers 10

    const/4 v1, 0x0

    const-string v0, "https"

    invoke-virtual {v0, p0}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    if-eqz v0, :cond_1b

    const-string v0, "appassets.androidplatform.net"

    invoke-virtual {v0, p1}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    if-eqz v0, :cond_1b

    if-eqz p2, :cond_1b

    const-string v0, "/"

    invoke-virtual {p2, v0}, Ljava/lang/String;->startsWith(Ljava/lang/String;)Z

    move-result v0

    if-nez v0, :cond_1d

    :cond_1b
    move-object v0, v1

    :goto_1c
    return-object v0

    :cond_1d
    const-string v0, "/"

    invoke-virtual {p2, v0}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    if-eqz v0, :cond_4c

    const-string v0, "index.html"

    :goto_27
    const-string v2, "/"

    const/4 v3, -0x1

    invoke-virtual {v0, v2, v3}, Ljava/lang/String;->split(Ljava/lang/String;I)[Ljava/lang/String;

    move-result-object v3

    array-length v4, v3

    const/4 v2, 0x0

    :goto_30
    if-ge v2, v4, :cond_55

    aget-object v5, v3, v2

    invoke-virtual {v5}, Ljava/lang/String;->isEmpty()Z

    move-result v6

    if-nez v6, :cond_4a

    const-string v6, "."

    invoke-virtual {v5, v6}, Ljava/lang/String;->startsWith(Ljava/lang/String;)Z

    move-result v6

    if-nez v6, :cond_4a

    const/16 v6, 0x5c

    invoke-virtual {v5, v6}, Ljava/lang/String;->indexOf(I)I

    move-result v5

    if-ltz v5, :cond_52

    :cond_4a
    move-object v0, v1

    goto :goto_1c

    :cond_4c
    const/4 v0, 0x1

    invoke-virtual {p2, v0}, Ljava/lang/String;->substring(I)Ljava/lang/String;

    move-result-object v0

    goto :goto_27

    :cond_52
    add-int/lit8 v2, v2, 0x1

    goto :goto_30

    :cond_55
    new-instance v1, Ljava/lang/StringBuilder;

    invoke-direct {v1}, Ljava/lang/StringBuilder;-><init>()V

    const-string v2, "www/"

    invoke-virtual {v1, v2}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v1

    invoke-virtual {v1, v0}, Ljava/lang/StringBuilder;->append(Ljava/lang/String;)Ljava/lang/StringBuilder;

    move-result-object v0

    invoke-virtual {v0}, Ljava/lang/StringBuilder;->toString()Ljava/lang/String;

    move-result-object v0

    goto :goto_1c
.end method

.method static isText(Ljava/lang/String;)Z
    .registers 2

    const-string v0, "text/"

    invoke-virtual {p0, v0}, Ljava/lang/String;->startsWith(Ljava/lang/String;)Z

    move-result v0

    if-nez v0, :cond_18

    const-string v0, "application/json"

    invoke-virtual {p0, v0}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    if-nez v0, :cond_18

    const-string v0, "image/svg+xml"

    invoke-virtual {p0, v0}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v0

    if-eqz v0, :cond_1a

    :cond_18
    const/4 v0, 0x1

    :goto_19
    return v0

    :cond_1a
    const/4 v0, 0x0

    goto :goto_19
.end method

.method static plainName(Ljava/lang/String;)Ljava/lang/String;
    .registers 7

    const/16 v3, 0x5f

    const/4 v1, 0x0

    new-instance v5, Ljava/lang/StringBuilder;

    invoke-direct {v5}, Ljava/lang/StringBuilder;-><init>()V

    move v0, v1

    :goto_9
    invoke-virtual {p0}, Ljava/lang/String;->length()I

    move-result v2

    if-ge v0, v2, :cond_42

    invoke-virtual {v5}, Ljava/lang/StringBuilder;->length()I

    move-result v2

    const/16 v4, 0x64

    if-ge v2, v4, :cond_42

    invoke-virtual {p0, v0}, Ljava/lang/String;->charAt(I)C

    move-result v2

    invoke-static {v2}, Ljava/lang/Character;->isLetterOrDigit(C)Z

    move-result v4

    if-nez v4, :cond_2b

    const/16 v4, 0x2d

    if-eq v2, v4, :cond_2b

    if-eq v2, v3, :cond_2b

    const/16 v4, 0x20

    if-ne v2, v4, :cond_3e

    :cond_2b
    const/4 v4, 0x1

    :goto_2c
    if-nez v4, :cond_38

    const/16 v4, 0x2e

    if-ne v2, v4, :cond_40

    invoke-virtual {v5}, Ljava/lang/StringBuilder;->length()I

    move-result v4

    if-lez v4, :cond_40

    :cond_38
    :goto_38
    invoke-virtual {v5, v2}, Ljava/lang/StringBuilder;->append(C)Ljava/lang/StringBuilder;

    add-int/lit8 v0, v0, 0x1

    goto :goto_9

    :cond_3e
    move v4, v1

    goto :goto_2c

    :cond_40
    move v2, v3

    goto :goto_38

    :cond_42
    invoke-virtual {v5}, Ljava/lang/StringBuilder;->length()I

    move-result v0

    if-nez v0, :cond_4b

    const-string v0, "photo"

    :goto_4a
    return-object v0

    :cond_4b
    invoke-virtual {v5}, Ljava/lang/StringBuilder;->toString()Ljava/lang/String;

    move-result-object v0

    goto :goto_4a
.end method

.method static type(Ljava/lang/String;)Ljava/lang/String;
    .registers 4

    const/16 v0, 0x2e

    invoke-virtual {p0, v0}, Ljava/lang/String;->lastIndexOf(I)I

    move-result v0

    add-int/lit8 v0, v0, 0x1

    invoke-virtual {p0, v0}, Ljava/lang/String;->substring(I)Ljava/lang/String;

    move-result-object v0

    sget-object v1, Ljava/util/Locale;->ROOT:Ljava/util/Locale;

    invoke-virtual {v0, v1}, Ljava/lang/String;->toLowerCase(Ljava/util/Locale;)Ljava/lang/String;

    move-result-object v1

    const/4 v0, -0x1

    invoke-virtual {v1}, Ljava/lang/String;->hashCode()I

    move-result v2

    sparse-switch v2, :sswitch_data_90

    :cond_1a
    :goto_1a
    packed-switch v0, :pswitch_data_b6

    const-string v0, "application/octet-stream"

    :goto_1f
    return-object v0

    :sswitch_20
    const-string v2, "html"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x0

    goto :goto_1a

    :sswitch_2a
    const-string v2, "js"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x1

    goto :goto_1a

    :sswitch_34
    const-string v2, "mjs"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x2

    goto :goto_1a

    :sswitch_3e
    const-string v2, "css"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x3

    goto :goto_1a

    :sswitch_48
    const-string v2, "json"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x4

    goto :goto_1a

    :sswitch_52
    const-string v2, "webmanifest"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x5

    goto :goto_1a

    :sswitch_5c
    const-string v2, "svg"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x6

    goto :goto_1a

    :sswitch_66
    const-string v2, "txt"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/4 v0, 0x7

    goto :goto_1a

    :sswitch_70
    const-string v2, "wasm"

    invoke-virtual {v1, v2}, Ljava/lang/String;->equals(Ljava/lang/Object;)Z

    move-result v1

    if-eqz v1, :cond_1a

    const/16 v0, 0x8

    goto :goto_1a

    :pswitch_7b
    const-string v0, "text/html"

    goto :goto_1f

    :pswitch_7e
    const-string v0, "text/javascript"

    goto :goto_1f

    :pswitch_81
    const-string v0, "text/css"

    goto :goto_1f

    :pswitch_84
    const-string v0, "application/json"

    goto :goto_1f

    :pswitch_87
    const-string v0, "image/svg+xml"

    goto :goto_1f

    :pswitch_8a
    const-string v0, "text/plain"

    goto :goto_1f

    :pswitch_8d
    const-string v0, "application/wasm"

    goto :goto_1f

    :sswitch_data_90
    .sparse-switch
        0xd49 -> :sswitch_2a
        0x18203 -> :sswitch_3e
        0x1a676 -> :sswitch_34
        0x1be64 -> :sswitch_5c
        0x1c270 -> :sswitch_66
        0x3107ab -> :sswitch_20
        0x31ece8 -> :sswitch_48
        0x3792a4 -> :sswitch_70
        0x61446583 -> :sswitch_52
    .end sparse-switch

    :pswitch_data_b6
    .packed-switch 0x0
        :pswitch_7b
        :pswitch_7e
        :pswitch_7e
        :pswitch_81
        :pswitch_84
        :pswitch_84
        :pswitch_87
        :pswitch_8a
        :pswitch_8d
    .end packed-switch
.end method
