// Stands for the migrations: `npx prisma migrate deploy`.
console.log("nothing to migrate");
