// The components in a TypeScript program, twice in one stack.
import * as pulumi from "@pulumi/pulumi";
import * as tiers from "@pulumi/tiers-components";

const config = new pulumi.Config();

function shop(name: string, port: number): tiers.AppTier {
    const site = new tiers.Site(name);
    // What decides what is made is plain; what is known later may be an output.
    const place = {
        target: tiers.Target.DOCKER,
        name: `${pulumi.getStack()}-${name}`,
        network: site.network,
    };
    const data = new tiers.DataTier(`${name}-data`, {
        site: place,
        stores: {
            postgres: {
                engine: "postgres",
                image: config.require("databaseImage"),
                databases: [{ name: "shop", owner: "shop" }],
            },
        },
    });
    return new tiers.AppTier(`${name}-app`, {
        site: place,
        connections: { postgres: data.connections["postgres"] },
        services: {
            web: {
                image: config.require("image"),
                environment: { DATABASE_HOST: "${postgres.host}" },
                secrets: { DATABASE_URL: "${postgres.url}" },
                ports: [{ target: 8000, published: port }],
                tmpfs: { "/tmp": "" },
                dependsOn: { postgres: tiers.Condition.SERVICE_HEALTHY },
            },
        },
    });
}

const first = config.requireNumber("port");
export const urls = [shop("books", first).urls, shop("music", first + 1).urls];
